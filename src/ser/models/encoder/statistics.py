"""A pretrained encoder as a source of features for classical models: mean and standard deviation over time of its hidden layers.

What was computed is kept beside the clip store, and shared with frozen encoders that are trained with `model.pooling` statistics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ser.config import ModelConfig
from ser.data.inputs import Store
from ser.models.base import read_card
from ser.models.encoder.encoder import EncoderModel, build, load
from ser.models.encoder.frozen_outputs import cached_outputs, compute_outputs, outputs_folder
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError

FOLDER = "encoder"


class EncoderStatistics:
    """An opened encoder, which gives each clip of a store a vector."""

    def __init__(self, model: EncoderModel, layers: Sequence[int] | None):
        """layers: 1 is the first transformer layer's output; all where None. Raises UserError for one that isn't there."""
        self.model, self.accelerator = model.eval(), make_accelerator("fp32")
        depth = model.encoder.config.num_hidden_layers
        self.layers = list(range(1, depth + 1)) if layers is None else list(layers)
        if wrong := [layer for layer in self.layers if layer > depth]:
            raise UserError(f"model.classical.encoder_layers: given {wrong[0]}; this encoder has the layers 1 to {depth}.")

    @classmethod
    def open(cls, config: ModelConfig, label_names: Sequence[str], max_seconds: float) -> EncoderStatistics:
        """The encoder `model.name`, with a head that nobody asks. Raises UserError where it can't be had."""
        asked = dataclasses.replace(config, pooling="statistics", layer_weights=True, freeze="encoder")
        return cls(build(asked, tuple(label_names), max_seconds), config.classical.encoder_layers)

    @classmethod
    def load(cls, folder: Path, layers: Sequence[int] | None) -> EncoderStatistics:
        """Open what `save` wrote."""
        return cls(load(folder / FOLDER, read_card(folder / FOLDER)), layers)

    def save(self, folder: Path) -> None:
        """The encoder goes with the model on its features, so that this opens without network."""
        self.model.save(folder / FOLDER)

    @cached_property
    def _name(self) -> str:
        return outputs_folder(self.model, Path(), self.accelerator).name

    def of(self, store: Store, rows: np.ndarray, after_file: Callable[[], None] = lambda: None) -> np.ndarray:
        """Features of the given (usable) rows, (n, layers * 2 * size) float32. after_file: as of `ser.features.load_features`."""
        if store.clips.folder is None:  # samples in memory, e.g. windows of a recording: not worth a file
            self.model.to(self.accelerator.device)
            known, hashes = store.clips.kept(self._name), store.report["audio_hash"].to_numpy()
            known |= compute_outputs(self.model, store, [row for row in rows if hashes[row] not in known], self.accelerator)
            outputs = np.array([known[name]["outputs"] for name in hashes[rows]])
        else:
            folder = store.clips.folder.parent / self._name
            outputs = cached_outputs(self.model, store, rows, folder, self.accelerator, after_file=after_file).rows(rows)
        return outputs[:, np.array(self.layers) - 1].reshape(len(rows), -1).astype(np.float32)
