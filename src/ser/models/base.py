"""What every network here offers, whatever is inside, so that the training loop knows none of them by name."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ser.audio import SAMPLE_RATE
from ser.data.inputs import Input, Store
from ser.data.utterance import Utterance
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, write_json

CARD = "ser_model.json"


class Frontend(Protocol):
    """Turns clips into a batch; the same object in training and prediction. Picklable: it runs in loader workers."""

    def prepare(self, clip: Utterance) -> np.ndarray:
        """A clip -> what the network sees of it, e.g. float32 (T,) or (frames, features)."""

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad prepared clips to one batch, the keyword arguments of `SerModel.forward`."""


class Model(Protocol):
    """What every model says of itself, whether it is trained by epochs (SerModel) or fitted in one go (FittedModel)."""

    takes: Input
    """What of a clip: audio, text, or both."""
    uses_voices: bool
    """Whether it matters to it who speaks, where that is known."""
    by_epochs: bool
    compares_clips: bool
    """Whether a clip's answer depends on the clips it is given with."""
    kind: str
    label_names: tuple[str, ...]
    max_seconds: float
    """How much of a clip it hears."""
    exact_length: bool
    """True when padding would change the logits: predict on batches of clips of equal length."""
    noise_reduction: bool
    """Whether its clips had `data.noise_reduction` in training; prediction does the same."""
    multi_label: bool
    """Whether each label has a probability of its own (sigmoid), so that a clip may be given several labels, or none."""
    speech_level_db: float | None
    """How loud the speech of its training clips was (median, dB of full scale); None where that isn't known."""
    frozen_as: str | None
    """Names the encoder of a network whose head alone was trained, with all that its outputs depend on; None for every other model."""

    def read_at_most(self, tokens: int) -> None:
        """Cut texts to fewer tokens than in training, where it reads tokens."""


class FittedModel(ABC):
    """A model that is fitted to all training clips at once. It has no tensors: it stays on the CPU, and prediction is all it does."""

    takes: Input = "audio"
    by_epochs = uses_voices = compares_clips = exact_length = noise_reduction = multi_label = False
    speech_level_db: float | None = None
    frozen_as: str | None = None
    caveats: Sequence[str] = ()
    """What has to be said beside any score of this model."""
    chosen: Mapping[str, object] = {}
    """Settings that were chosen inside the training part, by name."""
    told: Mapping[str, str] = {}
    """What `predict` found in the clips, by the title it was given."""

    @abstractmethod
    def fit(self, store: Store, rows: np.ndarray, labels: np.ndarray, seed: int, after_file: Callable[[], None]) -> np.ndarray:
        """Learn from the training clips, rows of the store, and their labels (n,); nothing else is seen.

        Returns their probabilities (n, labels). after_file: called now and then; may raise to end it.
        """

    @abstractmethod
    def predict(self, store: Store, rows: np.ndarray, title: str | None, after_file: Callable[[], None]) -> np.ndarray:
        """Probabilities (n, labels) of (usable) rows of a store. title: where given, what was found in the clips is told under it."""

    def to(self, device: object) -> FittedModel:
        """The same model."""
        return self

    def eval(self) -> FittedModel:
        """The same model."""
        return self

    def read_at_most(self, tokens: int) -> None:
        """It reads no tokens."""
        return


class SerModel(nn.Module, ABC):
    """A network that turns a batch of clips into one logit per label.

    A subclass fills in `forward` and `_write`, sets `frontend`, and overrides `is_head` and `frozen` where it has a
    pretrained part.
    """

    frontend: Frontend
    takes: Input = "audio"
    by_epochs = True
    uses_voices = compares_clips = multi_label = False
    speech_level_db: float | None = None
    frozen_as: str | None = None
    rests_on: Mapping[str, str] = {}
    """What a checkpoint of it doesn't hold and yet belongs to, besides config and data: a name and a hash for each."""

    def __init__(self, kind: str, label_names: Sequence[str], max_seconds: float, exact_length: bool):
        super().__init__()
        self.kind = kind
        self.label_names = tuple(label_names)
        self.max_seconds = float(max_seconds)
        self.exact_length, self.noise_reduction = exact_length, False

    @abstractmethod
    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels), float32 outside autocast."""

    @abstractmethod
    def _write(self, folder: Path) -> dict:
        """Write weights and settings to the folder; return what `load` needs to know besides (it goes into the card)."""

    def is_head(self, name: str) -> bool:
        """Whether the parameter is trained with the head's learning rate. Everything is, where nothing is pretrained."""
        return True

    def read_at_most(self, tokens: int) -> None:
        """Cut texts to fewer tokens than in training, where it reads tokens."""
        return

    def fit_statistics(self, clips: Iterable[Utterance], labels: np.ndarray) -> None:
        """Learn what the frontend needs (means of features, a neutral baseline) before training, from its clips alone.

        clips: of the fold's training part, read as they are asked for; labels in the same order.
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


def card_of(model: Model) -> dict:
    """What the card of every kind of model says, whether trained or fitted."""
    return {
        "kind": model.kind,
        "label_names": model.label_names,
        "max_seconds": model.max_seconds,
        "sampling_rate": SAMPLE_RATE,
        "exact_length": model.exact_length,
        "noise_reduction": model.noise_reduction,
        "multi_label": model.multi_label,
        "speech_level_db": model.speech_level_db,
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
