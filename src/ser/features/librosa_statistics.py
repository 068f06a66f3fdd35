"""The plain baseline: means and standard deviations of what librosa computes with its defaults."""

from __future__ import annotations

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.features.trim import trim

MFCC = 40
FRAME, HOP = 2048, 512
_FRAMES = (
    *(f"MFCC {number}" for number in range(MFCC)),
    *(f"slope of MFCC {number}" for number in range(MFCC)),
    *(f"chroma {number}" for number in range(12)),
    *(f"contrast {number}" for number in range(7)),
    *("zero crossings", "rms", "centroid", "bandwidth", "rolloff"),
)
NAMES = tuple(f"{name}, {statistic}" for statistic in ("mean", "deviation") for name in _FRAMES)
"""What each of the features is, in their order."""


def extract(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Wave (samples,) -> librosa (200,) float32, `NAMES`: mean and standard deviation over time of 40 MFCC, their slopes, ..."""
    import librosa

    wave = trim(wave)
    magnitude = np.abs(librosa.stft(wave))
    mfcc = librosa.feature.mfcc(y=wave, sr=SAMPLE_RATE, n_mfcc=MFCC)
    frames = np.vstack(
        [
            mfcc,
            np.gradient(mfcc, axis=1) if mfcc.shape[1] > 1 else np.zeros_like(mfcc),
            librosa.feature.chroma_stft(S=magnitude**2, sr=SAMPLE_RATE, tuning=0.0),
            librosa.feature.spectral_contrast(S=magnitude, sr=SAMPLE_RATE),
            _zero_crossing_rate(wave),
            librosa.feature.rms(S=magnitude),
            librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
            librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE),
            librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        ]
    )
    return {"librosa": np.concatenate([frames.mean(axis=1), frames.std(axis=1)]).astype(np.float32)}


def _zero_crossing_rate(wave: np.ndarray) -> np.ndarray:
    """librosa's, (1, T), without its compiled function, whose cache on disk breaks where two processes first call it at once."""
    import librosa

    padded = np.pad(np.where(np.abs(wave) <= 1e-10, 0, wave), FRAME // 2, mode="edge")
    negative = np.signbit(librosa.util.frame(padded, frame_length=FRAME, hop_length=HOP))
    return (negative[1:] != negative[:-1]).sum(axis=0, keepdims=True) / FRAME
