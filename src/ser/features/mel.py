"""Mel filters: from the bins of a spectrum to bands as wide as hearing tells them apart."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ser.audio import SAMPLE_RATE


@lru_cache(maxsize=8)
def mel_filters(bins: int, mels: int, lowest_hz: float = 0.0, highest_hz: float = SAMPLE_RATE / 2) -> np.ndarray:
    """(bins of a real FFT, mels), float64: Slaney's mel scale and area normalisation, librosa's defaults."""
    from transformers.audio_utils import mel_filter_bank  # librosa would first compile, half a minute on a new machine

    return mel_filter_bank(bins, mels, lowest_hz, highest_hz, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
