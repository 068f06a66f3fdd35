"""Log-mel spectrograms and MFCC in torch, equal to librosa's to 1e-4; bands, window and hop are named by each network in `models/frames`.

The one place where waves become spectral features: training, prediction and benchmarks all come here. A clip's features
depend on that clip alone, its loudest moment included (`top_db`), never on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ser.features.mel import mel_filters

AMIN = 1e-10
"""Least power before the logarithm, -100 dB."""
TOP_DB = 80.0
"""What lies further below the loudest point of a clip is raised to this distance, as librosa does."""


@dataclass(frozen=True)
class Spectrum:
    """How a wave at 16 kHz is cut into frames, in samples, and into mel bands up to 8 kHz."""

    window: int = 512
    """Length of the Hann window and of the FFT."""
    hop: int = 160
    """Distance between frames."""
    mels: int = 64

    def frames(self, samples: int) -> int:
        """Frames of a wave of so many samples: one at its start and one every hop."""
        return 1 + samples // self.hop


def log_mel(wave: np.ndarray, spectrum: Spectrum) -> torch.Tensor:
    """Wave (T,) in [-1, 1) -> power of each mel band in dB, float32 (frames, mels).

    Slaney's mel scale and area normalisation, centred frames, zeros beyond the clip's ends: librosa's defaults.
    """
    return _decibels(wave, spectrum).float()


def mfcc(wave: np.ndarray, spectrum: Spectrum, coefficients: int) -> torch.Tensor:
    """Wave (T,) in [-1, 1) -> mel-frequency cepstral coefficients, float32 (frames, coefficients).

    Davis & Mermelstein 1980: the orthonormal DCT-II of the log-mel spectrum.
    """
    return (_decibels(wave, spectrum) @ _cosines(coefficients, spectrum.mels)).float()


def mel_power(wave: np.ndarray, spectrum: Spectrum) -> torch.Tensor:
    """Wave (T,) -> power of each mel band, float64 (frames, mels)."""
    # In float64, because in float32 the rounding of loud bands shows in quiet ones, and the sums of the DCT at 3e-4.
    wave = torch.as_tensor(np.asarray(wave), dtype=torch.float64)
    window = _window(spectrum.window)
    spectra = torch.stft(wave, spectrum.window, spectrum.hop, window=window, center=True, pad_mode="constant", return_complex=True)
    power = spectra.real.square() + spectra.imag.square()
    return (_mel_filters(spectrum) @ power).T


def _decibels(wave: np.ndarray, spectrum: Spectrum) -> torch.Tensor:
    decibels = 10 * torch.log10(mel_power(wave, spectrum).clamp(min=AMIN))
    return torch.maximum(decibels, decibels.max() - TOP_DB)


@lru_cache(maxsize=8)
def _window(length: int) -> torch.Tensor:
    return torch.hann_window(length, dtype=torch.float64)


@lru_cache(maxsize=8)
def _mel_filters(spectrum: Spectrum) -> torch.Tensor:
    """(mels, FFT bins)."""
    return torch.from_numpy(np.ascontiguousarray(mel_filters(spectrum.window // 2 + 1, spectrum.mels).T))


@lru_cache(maxsize=8)
def _cosines(coefficients: int, mels: int) -> torch.Tensor:
    """(mels, coefficients)."""
    from scipy.fft import dct

    return torch.from_numpy(dct(np.eye(mels), norm="ortho")[:, :coefficients].copy())
