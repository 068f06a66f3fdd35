"""Solving an encoder's head on the encoder's outputs: the whole training of a frozen one, and where fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from ser.data.inputs import Store
from ser.models.base import FittedModel
from ser.models.encoder.encoder import EncoderModel
from ser.models.encoder.frozen_outputs import OutputStore, cached_outputs, outputs_folder
from ser.models.encoder.solved_head import Solution, solve
from ser.runtime.progress import busy, say


def outputs_of(
    model: EncoderModel,
    store: Store,
    cache: Path,
    accelerator: Accelerator,
    title: str,
    after_file: Callable[[], None],
    below: int | None = None,
) -> OutputStore:
    """The encoder's outputs of all usable clips of a store; below: of the layers under this one alone (see `cached_outputs`)."""
    folder = outputs_folder(model, cache, accelerator, below)
    return cached_outputs(model, store, np.flatnonzero(store.usable), folder, accelerator, title, after_file, below)


def solve_head(model: EncoderModel, outputs: OutputStore, rows: np.ndarray, labels: np.ndarray, balanced: bool, seed: int) -> Solution:
    """Give the model the head that fits the clips of these rows; labels are theirs alone."""
    sum_layers = model.head.every_layer and not model.head.deviation
    groups = outputs.groups(rows, least=2)
    solution = solve(outputs.rows(rows), labels, len(model.label_names), groups, sum_layers, balanced, seed)
    model.head.set_to(solution)
    return solution


class SolvedEncoder(FittedModel):
    """A frozen encoder with a solved head; what it saves is the encoder model itself."""

    def __init__(self, model: EncoderModel, cache: Path, accelerator: Accelerator, balanced: bool):
        self.model, self.cache, self.accelerator, self.balanced = model, cache, accelerator, balanced
        self.parameter_count = sum(parameter.numel() for parameter in model.parameters())
        self.save = model.save

    def fit(self, store: Store, rows: np.ndarray, labels: np.ndarray, seed: int, after_file: Callable[[], None]) -> np.ndarray:
        """Solve the head on the training clips; see `FittedModel.fit`."""
        outputs = self._outputs(store, "training clips", after_file)
        self.model.frozen_as = self._folder.name
        with busy("solving the head"):
            solution = solve_head(self.model, outputs, rows, labels, self.balanced, seed)
        self.chosen = {"shrinkage": solution.shrinkage}
        say(f"head solved, shrinkage {solution.shrinkage:g}")
        return self._probabilities(outputs, rows)

    def predict(self, store: Store, rows: np.ndarray, title: str | None, after_file: Callable[[], None]) -> np.ndarray:
        """Probabilities (n, labels) of rows of a store; see `FittedModel.predict`."""
        return self._probabilities(self._outputs(store, title or "clips", after_file), rows)

    @cached_property
    def _folder(self) -> Path:
        return outputs_folder(self.model, self.cache, self.accelerator)  # a hash of all weights: a quarter of a second for each

    def _outputs(self, store: Store, title: str, after_file: Callable[[], None]) -> OutputStore:
        return cached_outputs(self.model, store, np.flatnonzero(store.usable), self._folder, self.accelerator, title, after_file)

    @torch.inference_mode()
    def _probabilities(self, outputs: OutputStore, rows: np.ndarray) -> np.ndarray:
        head = self.model.head.eval().cpu()
        return torch.softmax(head.classify(torch.from_numpy(outputs.rows(rows))).double(), dim=-1).numpy()
