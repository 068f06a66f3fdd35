"""Any text encoder of transformers with the library's own classification head.

What is saved is what `save_pretrained` writes, tokenizer included, and opens in `pipeline("text-classification", model=folder)`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.base import SerModel, read_card
from ser.models.hub import checkpoint_folder
from ser.models.pretrained import canonical_names, labels_of, load_network, quiet, read_config, set_labels, short, some
from ser.models.registry import TEXT_TYPES
from ser.models.text.text_tokens import learn_tokenizer
from ser.models.untrained import scratch_config
from ser.runtime.errors import UserError

# Loader workers tokenize text by text; the library's own threads would only warn about having been forked.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

HEAD_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "classifier_dropout_prob", "cls_dropout")
"""What the dropout before the last layer is called, by architecture."""
FOREIGN_MAX_TOKENS = 256
MULTI_LABEL = "multi_label_classification"
"""What transformers calls it where several labels may apply."""


@dataclass(frozen=True)
class Tokens:
    """Text -> token numbers, as the checkpoint's own tokenizer makes them."""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    def prepare(self, clip: Utterance) -> np.ndarray:
        """The clip's text -> int64 (T,), special tokens included, cut to `max_tokens`."""
        return np.array(self.tokenizer(clip.text, truncation=True, max_length=self.max_tokens)["input_ids"], np.int64)

    def collate(self, texts: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad on the right: `input_ids` (B, T) and `attention_mask` (B, T), 1 for real tokens."""
        lengths = torch.tensor([len(text) for text in texts])
        pad = self.tokenizer.pad_token_id
        tokens = nn.utils.rnn.pad_sequence([torch.from_numpy(text) for text in texts], batch_first=True, padding_value=pad)
        return {"input_ids": tokens, "attention_mask": (torch.arange(tokens.shape[1]) < lengths[:, None]).long()}


class TextEncoderModel(SerModel):
    """A transformers text encoder and its head; a tokenizer that is None is learnt from the training part."""

    takes = "text"

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        label_names: Sequence[str],
        max_seconds: float,
        max_tokens: int,
        frozen: Sequence[nn.Module] = (),
    ):
        super().__init__("text_encoder", label_names, max_seconds, exact_length=False)
        self.network = network
        self.max_tokens = min(max_tokens, _positions(network.config))
        self._frozen = list(frozen)
        if tokenizer is not None:
            self.frontend = Tokens(tokenizer, self.max_tokens)

    @property
    def encoder(self) -> PreTrainedModel:
        """The encoder without its head."""
        return self.network.base_model

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        return self.network(**batch).logits.float()

    def fit_statistics(self, clips: Iterable[Utterance], labels: np.ndarray) -> None:
        """Learn the tokenizer of an encoder from scratch; a pretrained one has its own."""
        if not hasattr(self, "frontend"):
            tokenizer = learn_tokenizer((clip.text for clip in clips), self.network.config.vocab_size, self.network.config.pad_token_id)
            self.frontend = Tokens(tokenizer, self.max_tokens)

    def read_at_most(self, tokens: int) -> None:
        """Cut texts to fewer tokens than in training; more is never read."""
        self.frontend = Tokens(self.frontend.tokenizer, min(tokens, self.max_tokens))

    def is_head(self, name: str) -> bool:
        """All that isn't the encoder."""
        return not name.startswith(f"network.{self.network.base_model_prefix}.")

    def frozen(self) -> Sequence[nn.Module]:
        """The modules that `model.text_encoder.freeze` keeps as they are."""
        return self._frozen

    def _write(self, folder: Path) -> dict:
        if self.multi_label:
            self.network.config.problem_type = MULTI_LABEL  # the library's pipeline takes the sigmoid then
        with quiet():
            self.network.save_pretrained(folder)
            self.frontend.tokenizer.save_pretrained(folder)
        return {
            "max_tokens": self.max_tokens,
            "how_to_load": "transformers.pipeline('text-classification', model=FOLDER), or ser.models.load_model(FOLDER)",
        }


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> TextEncoderModel:
    """A pretrained (or, from scratch, random) text encoder with a new head; see `ser.models.registry.build_model`."""
    own, tokenizer = config.text_encoder, None
    if own.from_scratch is None:
        folder = _checkpoint(own.name, "model.text_encoder.name")
        hub_config = read_config(folder, TEXT_TYPES, "text encoders")
        tokenizer = _read_tokenizer(folder)
        _set_head(hub_config, label_names, config.head_dropout)
        network = _read_network(folder, hub_config, new_head=True)
        _start_head(network)
    else:
        hub_config = scratch_config({"vocab_size": own.vocabulary, "pad_token_id": 0, **own.from_scratch}, TEXT_TYPES)
        _set_head(hub_config, label_names, config.head_dropout)
        network = _random_network(hub_config)
    frozen = _freeze(network, own.freeze)
    return TextEncoderModel(network, tokenizer, label_names, max_seconds, own.max_tokens, frozen)


def load(folder: Path, card: dict) -> TextEncoderModel:
    """Open what `TextEncoderModel.save` wrote."""
    config = read_config(folder, TEXT_TYPES, "text encoders")
    names = tuple(card["label_names"])
    if names != labels_of(config):
        raise UserError(f"{folder}: ser_model.json and config.json name different labels: {names} and {labels_of(config)}.")
    return TextEncoderModel(_read_network(folder, config), _read_tokenizer(folder), names, card["max_seconds"], card["max_tokens"])


def load_foreign(name: str) -> TextEncoderModel:
    """Any text classifier of transformers, by folder or hub name; its labels become the registry's where it knows all of them."""
    folder = checkpoint_folder(name)
    if card := read_card(folder):
        return load(folder, card)
    config = read_config(folder, TEXT_TYPES, "text encoders")
    if config.problem_type == "regression" or config.num_labels < 2:
        raise UserError(f"{name} predicts {config.num_labels} value(s) ({config.problem_type or 'one label'}), not emotion classes.")
    names = canonical_names(labels_of(config))
    model = TextEncoderModel(_read_network(folder, config), _read_tokenizer(folder), names, 0.0, FOREIGN_MAX_TOKENS)
    model.multi_label = config.problem_type == MULTI_LABEL
    return model


def read_encoder(name: str, max_tokens: int) -> tuple[PreTrainedModel, Tokens]:
    """The text encoder of a fusion, without any head, and its frontend: by hub name or folder (a trained text_encoder's too)."""
    folder = _checkpoint(name, "model.fusion.text_encoder")
    config = read_config(folder, TEXT_TYPES, "text encoders")
    network = _read_network(folder, config, transformers.AutoModel)
    return network.eval(), Tokens(_read_tokenizer(folder), min(max_tokens, _positions(config)))


def _checkpoint(name: str, key: str) -> Path:
    """`checkpoint_folder`, whose messages name the key of audio encoders, with the key that was meant here."""
    try:
        return checkpoint_folder(name)
    except UserError as error:
        raise UserError(str(error).replace("model.name", key)) from None


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer class has checks and exceptions of its own
        raise UserError(
            f"{folder} holds no usable tokenizer ({short(error)}). Copy the checkpoint's tokenizer.json and tokenizer_config.json."
        ) from None
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: its tokenizer has no padding token, so it belongs to no text encoder.")
    return tokenizer


def _read_network(
    folder: Path, config: PreTrainedConfig, network_class: type = transformers.AutoModelForSequenceClassification, new_head: bool = False
) -> PreTrainedModel:
    """The network in float32 from safetensors, refused unless all of its weights are there (but for a new head's, and a pooler's)."""
    network, report = load_network(network_class, folder, config)
    missing = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if new_head:
        missing = [key for key in missing if key.startswith(f"{network.base_model_prefix}.") and ".pooler." not in key]
    elif network_class is transformers.AutoModel:
        # The first token is read before the pooler, and many checkpoints have none.
        missing = [key for key in missing if not key.startswith("pooler.")]
    if missing:
        raise UserError(f"{folder} lacks weights, which would stay random: {some(missing)}. Is the checkpoint whole, and a classifier?")
    return network


def _random_network(config: PreTrainedConfig) -> PreTrainedModel:
    """A network with random weights, tried on one text so that sizes which only fail in use fail before the run."""
    try:
        network = transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            network(input_ids=torch.ones(1, 4, dtype=torch.long), attention_mask=torch.ones(1, 4, dtype=torch.long))
    except Exception as error:  # torch and transformers refuse impossible sizes with exceptions of many classes
        raise UserError(f"model.text_encoder.from_scratch: these sizes make no network: {short(error)}") from None
    return network


def _set_head(config: PreTrainedConfig, label_names: Sequence[str], dropout: float) -> None:
    set_labels(config, label_names)
    for name in HEAD_DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, float(dropout))


def _start_head(network: PreTrainedModel) -> None:
    """New weights for the head, whatever head the checkpoint had."""
    std = getattr(network.config, "initializer_range", 0.02)
    for name, module in network.named_children():
        if name != network.base_model_prefix:
            for layer in module.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=std)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)


def _freeze(network: PreTrainedModel, what: str) -> list[nn.Module]:
    if what == "none":
        return []
    part = network.base_model if what == "encoder" else network.base_model.embeddings
    part.requires_grad_(False)
    return [part]


def _positions(config: PreTrainedConfig) -> int:
    """Tokens the network has positions for; RoBERTa counts them from behind its padding token."""
    behind = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
    return getattr(config, "max_position_embeddings", 10**6) - behind
