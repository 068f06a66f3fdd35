"""The matrices of features that a classical model sees of its clips, and what has to be learnt or kept to compute them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser.config import ClassicalConfig
from ser.data.inputs import Store
from ser.features import SOURCES, load_features
from ser.features.alignment import aligned_features, learn_template
from ser.models.classical.speaker_classifier import FeatureMatrices
from ser.runtime.errors import UserError

if TYPE_CHECKING:
    from ser.models.encoder.statistics import EncoderStatistics

SOURCE_OF = {"functionals": "voice", "aligned": "voice", "librosa": "librosa", "egemaps": "egemaps", "compare": "compare"}


@dataclass
class ClipFeatures:
    """Clips of a store as one matrix per feature set, in the config's order, and their voices' embeddings where it asks for them."""

    config: ClassicalConfig
    encoder: EncoderStatistics | None = None
    """Of the feature set `encoder`."""
    template: np.ndarray | None = None
    """Of the feature set `aligned`: (T, 28), learnt from the training clips."""

    @property
    def sources(self) -> list[str]:
        """The feature sources (of `SOURCES`) that are needed."""
        names = [SOURCE_OF[name] for name in self.config.features if name in SOURCE_OF]
        return list(dict.fromkeys(names + ["ge2e"] * (self.config.voices == "ge2e")))

    def read(self, store: Store, rows: np.ndarray, learn: bool = False, after_file: Callable[[], None] = lambda: None) -> FeatureMatrices:
        """The features of the given (usable) rows, a block per feature set in the config's order.

        learn: these are the training clips. after_file: called whenever more of it is on disk; may raise to leave the rest.
        """
        found: dict[str, list[np.ndarray]] = {}
        for source in self.sources:
            found |= load_features(store.clips, rows, source, after_file)
        if learn and "aligned" in self.config.features:
            self.template = learn_template(found["timbre"])
        blocks = [self._matrix(name, found, store, rows, after_file) for name in self.config.features]
        return FeatureMatrices(blocks, np.array(found["ge2e"], np.float32) if self.config.voices == "ge2e" else None)

    def _matrix(self, name: str, found: dict, store: Store, rows: np.ndarray, after_file: Callable[[], None]) -> np.ndarray:
        if name == "encoder":
            return self.encoder.of(store, rows, after_file)
        if name == "aligned":
            clips = zip(found["timbre"], found["contents"], strict=True)
            return np.array([aligned_features(timbre, contents, self.template) for timbre, contents in clips], np.float32)
        return np.array(found[name], np.float32)

    def versions(self) -> dict[str, int]:
        """The version of each source: features of another one can't be compared with those learnt from."""
        return {source: SOURCES[source].version for source in self.sources}

    @staticmethod
    def check_versions(folder: Path, versions: dict[str, int]) -> None:
        """Raises UserError where this program computes other features than the model in the folder was fitted to."""
        for source, version in versions.items():
            if SOURCES[source].version != version:
                raise UserError(
                    f"{folder} was fitted to {source} features of version {version}; this program computes version "
                    f"{SOURCES[source].version}. Train it again, or use the program that made it."
                )
