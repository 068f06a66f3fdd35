"""What every network here offers, whatever is inside, so that the training loop knows none of them by name."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ser.audio import SAMPLE_RATE
from ser.data.tables import Voice
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, write_json

CARD = "ser_model.json"


class Frontend(Protocol):
    """Turns waves into a batch; the same object in training and prediction. Picklable: it runs in loader workers."""

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        """Wave (T,) float32 at 16 kHz in [-1, 1) -> what the network sees of it, float32 (T,) or (frames, features)."""

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad prepared clips to one batch, the keyword arguments of `SerModel.forward`."""


class Described(Protocol):
    """What is told of every model, trained or fitted, on its card."""

    kind: str
    label_names: tuple[str, ...]
    max_seconds: float
    exact_length: bool
    noise_reduction: bool


class SerModel(nn.Module, ABC):
    """A network that turns a batch of clips into one logit per label.

    A subclass fills in `forward` and `_write`, sets `frontend`, and overrides `is_head` and `frozen` where it has a
    pretrained part.
    """

    frontend: Frontend

    def __init__(self, kind: str, label_names: Sequence[str], max_seconds: float, exact_length: bool):
        super().__init__()
        self.kind = kind
        self.label_names = tuple(label_names)
        self.max_seconds = float(max_seconds)
        self.exact_length = exact_length
        """True when padding would change the logits: predict on batches of clips of equal length."""
        self.noise_reduction = False
        """Whether its clips had `data.noise_reduction` in training; prediction does the same."""

    @abstractmethod
    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels), float32 outside autocast."""

    @abstractmethod
    def _write(self, folder: Path) -> dict:
        """Write weights and settings to the folder; return what `load` needs to know besides (it goes into the card)."""

    def is_head(self, name: str) -> bool:
        """Whether the parameter is trained with the head's learning rate. Everything is, where nothing is pretrained."""
        return True

    @property
    def uses_voices(self) -> bool:
        """Whether `frontend.prepare` takes the clip's voice as a second argument, where it is known."""
        return False

    def fit_statistics(self, waves: Iterable[np.ndarray], labels: np.ndarray, voices: Sequence[Voice] | None) -> None:
        """Learn what the frontend needs (means of features, a neutral baseline) before training, from its clips alone.

        waves: the clips of the fold's training part, read as they are asked for; labels and voices in the same order.
        """
        return

    def frozen(self) -> Sequence[nn.Module]:
        """Modules that keep their weights: they stay in eval mode (no dropout, no running statistics) in training."""
        return ()

    def train(self, mode: bool = True) -> SerModel:
        """Switch to training mode, except what is frozen."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        return self

    def parameter_groups(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """The trainable parameters by learning rate: {"encoder": [(name, parameter), ...], "head": [...]}."""
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {"encoder": [], "head": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups["head" if self.is_head(name) else "encoder"].append((name, parameter))
        return groups

    def save(self, folder: str | Path) -> None:
        """Write the network to a folder, all of it or nothing, with a card that says what it is and how to load it."""
        with atomic_folder(folder) as temporary:
            write_json(temporary / CARD, card_of(self) | self._write(temporary))


def card_of(model: Described) -> dict:
    """What the card of every kind of model says, whether trained or fitted."""
    return {
        "kind": model.kind,
        "label_names": model.label_names,
        "max_seconds": model.max_seconds,
        "sampling_rate": SAMPLE_RATE,
        "exact_length": model.exact_length,
        "noise_reduction": model.noise_reduction,
    }


def read_card(folder: str | Path) -> dict | None:
    """The card of a saved network, or None where there is none. Raises UserError when it can't be read."""
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        missing = {"kind", "label_names", "max_seconds", "exact_length"} - set(card)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}). Copy the model folder again.") from None
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}. Copy the model folder again.")
    return card
