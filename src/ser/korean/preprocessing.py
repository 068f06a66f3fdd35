"""A file as the network would hear it, for a look or a loop of one's own (the predictor doesn't use it)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from ser.audio import SAMPLE_RATE, to_float
from ser.audio.pool import Decoders
from ser.config import AugmentConfig
from ser.data.augmentation import Augmenter
from ser.korean.dataset import recipe_augmentation
from ser.runtime.errors import UserError


class AudioPreprocessor:
    """Files to waves: decoded, mixed down, resampled, cut, and on request augmented and normalised.

    target_sr: 16000, the rate of all models here. max_duration: seconds, longer files are cut. normalize: to mean 0 and variance 1, as
    the checkpoints' feature extractors do. noise_reduction: as `data.noise_reduction`. augment: default the Korean recipe's.
    """

    def __init__(
        self,
        target_sr: int = SAMPLE_RATE,
        max_duration: float = 15.0,
        normalize: bool = True,
        noise_reduction: bool = False,
        augment: AugmentConfig | None = None,
    ) -> None:
        if target_sr != SAMPLE_RATE:
            raise UserError(f"target_sr: given {target_sr}; all models here hear {SAMPLE_RATE} Hz.")
        if max_duration <= 0:
            raise UserError(f"max_duration: given {max_duration}; it must be above 0 s.")
        self.max_duration, self.normalize, self.noise_reduction = float(max_duration), normalize, noise_reduction
        self.augment = augment

    def preprocess(self, path: str | Path, apply_augmentation: bool = False, seed: int = 0) -> np.ndarray:
        """float32 (T,) at 16 kHz. The same seed gives the same augmentation. Raises UserError with the status of an unusable file."""
        (clip,) = _decoders().decode_all([Path(path).absolute()], max_seconds=self.max_duration, noise_reduction=self.noise_reduction)
        if not clip.usable:
            raise UserError(f"{path} can't be used: {clip.status} ({clip.detail}).")
        wave = to_float(clip.samples)
        if apply_augmentation:
            wave = Augmenter(self.augment or recipe_augmentation())(wave, seed)[: int(self.max_duration * SAMPLE_RATE)]
        if self.normalize:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        return wave.astype(np.float32)


@cache
def _decoders() -> Decoders:
    """Processes that stay for the next file: in a loop, each would else cost the start of one, as long as decoding dozens of clips."""
    return Decoders()
