"""Means and standard deviations of features: of all training clips, or of the neutral clips of a voice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ser.data.utterance import Utterance

LEAST_DEVIATION = 1e-3
"""A feature that hardly varies in the clips it was measured on must not be blown up."""


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each feature, float32 (features,)."""

    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """(frames, features) float32 -> (x - mean) / deviation."""
        return (frames - self.mean) / self.deviation


@dataclass(frozen=True)
class Standards:
    """A pooled standard, and those of single voices: `by` is what of a clip (speaker or gender) names them."""

    pooled: Standard
    by: str | None = None
    of_voice: Mapping[str, Standard] = field(default_factory=dict)

    def of(self, clip: Utterance) -> Standard:
        """The standard of a clip's voice; the pooled one where the voice is unknown."""
        name = None if self.by is None else getattr(clip, self.by)
        return self.of_voice.get(name, self.pooled)

    def as_json(self) -> dict:
        """For the model's card."""
        return {
            "pooled": _as_lists(self.pooled),
            "by": self.by,
            "of_voice": {name: _as_lists(standard) for name, standard in self.of_voice.items()},
        }

    @staticmethod
    def from_json(value: dict) -> Standards:
        """What `as_json` made, bit by bit."""
        of_voice = {name: _from_lists(lists) for name, lists in value["of_voice"].items()}
        return Standards(_from_lists(value["pooled"]), value["by"], of_voice)


def unit_standard(features: int) -> Standard:
    """Changes nothing."""
    return Standard(np.zeros(features, dtype=np.float32), np.ones(features, dtype=np.float32))


def standard_of(clips: Iterable[np.ndarray]) -> Standard:
    """Mean and standard deviation over all frames of clips (frames, features). Raises ValueError without a frame."""
    return Moments().add_all(clips).standard()


class Moments:
    """Sums over frames, clip by clip, so that no more than one clip is in memory."""

    def __init__(self) -> None:
        self.frames, self.total, self.squares = 0, 0.0, 0.0

    def add(self, clip: np.ndarray) -> None:
        """Count the frames of a clip (frames, features) in; there is no padding in them."""
        clip = clip.astype(np.float64)
        self.frames += len(clip)
        self.total = self.total + clip.sum(0)
        self.squares = self.squares + (clip**2).sum(0)

    def add_all(self, clips: Iterable[np.ndarray]) -> Moments:
        """Count clips in; returns itself."""
        for clip in clips:
            self.add(clip)
        return self

    def standard(self) -> Standard:
        """Mean and standard deviation of what was counted in."""
        if not self.frames:
            raise ValueError("there is no frame to take a mean of")
        mean = self.total / self.frames
        variance = np.maximum(self.squares / self.frames - mean**2, 0)
        return Standard(mean.astype(np.float32), np.maximum(np.sqrt(variance), LEAST_DEVIATION).astype(np.float32))


def _as_lists(standard: Standard) -> dict[str, list[float]]:
    return {"mean": standard.mean.astype(float).tolist(), "deviation": standard.deviation.astype(float).tolist()}


def _from_lists(value: dict[str, list[float]]) -> Standard:
    return Standard(np.array(value["mean"], dtype=np.float32), np.array(value["deviation"], dtype=np.float32))
