"""A tiny Whisper with random weights, made as people make real ones: a transformers checkpoint with its tokenizer, converted by
CTranslate2. It says nonsense, but every step of speech to text runs on it. For tests only."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

LANGUAGES = ("en", "ko", "zh", "de", "es")


def write_checkpoint(folder: Path) -> Path:
    """A transformers Whisper checkpoint: 2 layers of 16 channels, byte-level tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["Ġhello", "Ġwhat", "Ġa", "Ġfine", "Ġday"]
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>", "<|transcribe|>"]
    specials += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    stamps = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    vocabulary = {token: number for number, token in enumerate([*letters, *words, *specials, *stamps])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*specials, *stamps])

    torch.manual_seed(0)
    end = vocabulary["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        init_std=0.5,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=vocabulary["<|startoftranscript|>"],
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config.alignment_heads = [[0, 0], [1, 1]]
    model.generation_config.lang_to_id = {f"<|{code}|>": vocabulary[f"<|{code}|>"] for code in LANGUAGES}
    model.generation_config.suppress_tokens = []
    model.generation_config.begin_suppress_tokens = []
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


def convert(checkpoint: Path, folder: Path) -> Path:
    """What `ct2-transformers-converter` does, and the two files that faster-whisper needs besides."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(checkpoint)).convert(str(folder), force=True)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copy(checkpoint / name, folder / name)
    return folder
