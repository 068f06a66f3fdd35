"""A tokenizer learnt from the training texts, for an encoder without a pretrained one."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


def learn_tokenizer(texts: Iterable[str], vocabulary: int, pad_id: int = 0) -> PreTrainedTokenizerFast:
    """Byte pair encoding (Sennrich et al. 2016) of at most `vocabulary` pieces; a text becomes `[CLS] text [SEP]`, as BERT has it.

    The same texts, in whatever order, give the same tokenizer. (The library's WordPiece trainer doesn't: ties go by a random hash.)
    """
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    special = list(SPECIAL.values())
    special.insert(pad_id, special.pop(0))  # padding has the number that the network's config gives it
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=2, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sorted(texts), trainer)
    cls, sep = ((SPECIAL[name], tokenizer.token_to_id(SPECIAL[name])) for name in ("cls_token", "sep_token"))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{cls[0]} $A {sep[0]}", special_tokens=[cls, sep])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
