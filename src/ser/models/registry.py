"""The registry of models: which module makes and opens each kind.

`build_model` makes a network to train, `load_model` opens one that was saved (or any audio classifier of the
transformers library). A new architecture is a file with two functions, `build(config, label_names, max_seconds)` and
`load(folder, card)`, its class (of `SerModel` or `FittedModel`), and one line in `KINDS`.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

from ser.config import ModelConfig
from ser.models.base import FittedModel, Model, SerModel, read_card
from ser.runtime.errors import UserError
from ser.runtime.files import lfs_pointer

__all__ = ["KINDS", "FittedModel", "Model", "SerModel", "build_model", "load_model", "model_class"]

KINDS = {
    "encoder": "ser.models.encoder.encoder:EncoderModel",
    "classical": "ser.models.classical.classical:ClassicalModel",
    "mfcc_cnn": "ser.models.frames.mfcc_cnn:MfccCnn",
    "logmel_crnn": "ser.models.frames.logmel_crnn:LogmelCrnn",
    "mfcc_lstm_delta": "ser.models.frames.mfcc_lstm_delta:MfccLstmDelta",
    "text_encoder": "ser.models.text.text_encoder:TextEncoderModel",
    "text_ngrams": "ser.models.text.text_ngrams:TextNgrams",
    "fusion": "ser.models.fusion.fusion:FusionModel",
}
TEXT_TYPES = ("roberta", "bert", "electra", "distilbert", "albert", "xlm-roberta", "deberta-v2", "modernbert")
"""What transformers calls the text encoders known here."""


def model_class(kind: str) -> type[SerModel] | type[FittedModel]:
    """The class of a kind, which says by attributes what its models take of a clip and how they are fitted."""
    return getattr(_module(kind), KINDS[kind].split(":")[1])


def build_model(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> SerModel | FittedModel:
    """A network to train: pretrained weights where the architecture has them, a new head with one output per label.

    New weights depend only on torch's seed, which the caller sets. Clips are cut to `max_seconds`.
    Raises UserError for fewer than two labels, a checkpoint that can't be had or used, or settings it has no room for.
    """
    if len(label_names) < 2 or len(set(label_names)) != len(label_names):
        raise UserError(f"labels: given {list(label_names)}; a classifier needs at least two, all different.")
    return _module(config.kind).build(config, tuple(label_names), float(max_seconds))


def load_model(folder: str | Path) -> SerModel | FittedModel:
    """Open a network saved by `SerModel.save`, any audio classifier of transformers by folder or hub name, or an exported model.onnx.

    The labels and their order are read from the checkpoint. The network comes in eval mode, its weights in float32.
    Raises UserError when the folder holds no model, or lacks weights.
    """
    if str(folder).endswith(".onnx"):
        return import_module("ser.models.onnx").open_onnx(folder).eval()
    if Path(folder).is_dir() and (pointer := lfs_pointer(Path(folder))):
        raise UserError(f"{folder} is no usable checkpoint: {pointer}")
    if card := read_card(folder):
        model = _module(card["kind"]).load(Path(folder), card).eval()
        model.noise_reduction = bool(card.get("noise_reduction", False))
        model.multi_label = bool(card.get("multi_label", False))
        model.speech_level_db = card.get("speech_level_db")
        return model
    return _module("text_encoder" if _reads_text(Path(folder)) else "encoder").load_foreign(str(folder)).eval()


def _reads_text(folder: Path) -> bool:
    """Whether a checkpoint from elsewhere is a text encoder, by what its config.json calls itself."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") in TEXT_TYPES
    except (OSError, ValueError, AttributeError):
        return False  # the encoder says what is wrong with it


def _module(kind: str):
    if kind not in KINDS:
        raise UserError(f"model kind: given {kind!r}; known kinds are {', '.join(KINDS)}.")
    return import_module(KINDS[kind].split(":")[0])
