"""The networks: one file per architecture, one registry.

`build_model` makes a network to train, `load_model` opens one that was saved (or any audio classifier of the
transformers library). A new architecture is a file with two functions, `build(config, label_names, max_seconds)` and
`load(folder, card)`, and one line in `KINDS`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ser.config import ModelConfig
from ser.errors import UserError
from ser.models.base import SerModel, read_card

__all__ = ["KINDS", "SerModel", "build_model", "load_model"]

KINDS = {
    "encoder": "ser.models.encoder",
    "classical": "ser.models.classical",
    "mfcc_cnn": "ser.models.mfcc_cnn",
    "logmel_crnn": "ser.models.logmel_crnn",
    "mfcc_lstm_delta": "ser.models.mfcc_lstm_delta",
}


def build_model(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> SerModel:
    """A network to train: pretrained weights where the architecture has them, a new head with one output per label.

    New weights depend only on torch's seed, which the caller sets. Clips are cut to `max_seconds`.
    Raises UserError for fewer than two labels, a checkpoint that can't be had or used, or settings it has no room for.
    """
    if len(label_names) < 2 or len(set(label_names)) != len(label_names):
        raise UserError(f"labels: given {list(label_names)}; a classifier needs at least two, all different.")
    return _module(config.kind).build(config, tuple(label_names), float(max_seconds))


def load_model(folder: str | Path) -> SerModel:
    """Open a network saved by `SerModel.save`, or any audio classifier of transformers, by folder or hub name.

    The labels and their order are read from the checkpoint. The network comes in eval mode, its weights in float32.
    Raises UserError when the folder holds no model, or lacks weights.
    """
    if card := read_card(folder):
        return _module(card["kind"]).load(Path(folder), card).eval()
    return _module("encoder").load_foreign(str(folder)).eval()


def _module(kind: str):
    if kind not in KINDS:
        raise UserError(f"model kind: given {kind!r}; known kinds are {', '.join(KINDS)}.")
    return import_module(KINDS[kind])
