"""What a voice sounds like from one 10 ms to the next: pitch, noise, loudness, the shape of the spectrum, mel bands and MFCC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.features.mel import mel_filters
from ser.features.pitch import HOP, track_pitch

FFT, WINDOW = 1024, 512
MELS, COEFFICIENTS = 64, 25
LOWEST_HZ, HIGHEST_HZ = 50, 8000
BIN_HZ = SAMPLE_RATE / FFT
LEAST_POWER = 1e-10
"""Before the logarithm, -100 dB."""

SCALARS = (
    "log2_f0", "hnr_db", "level_db", "centroid", "spread", "rolloff_25", "rolloff_50", "rolloff_75", "rolloff_90", "alpha_ratio",
    "hammarberg", "slope_50_500", "slope_500_1500", "slope_1500_6000", "log_flatness", "log_flux", "zero_crossings", "h1_h2", "h1_a3",
)  # fmt: skip
"""Scalar descriptors in column order; F0 in log2 Hz, frequencies in Hz, ratios in dB, slopes in dB per kHz. The spectral ones are
those of the Geneva set (Eyben et al. 2016, IEEE Transactions on Affective Computing 7)."""


@dataclass(frozen=True)
class Frames:
    """T frames, one every 10 ms, the first centred on the first sample."""

    scalars: np.ndarray
    """(T, 19) float64, columns SCALARS; F0 is NaN where unvoiced."""
    mel_db: np.ndarray
    """(T, 64) power in mel bands from 50 to 8000 Hz, dB."""
    mfcc: np.ndarray
    """(T, 25) orthonormal DCT-II of mel_db (Davis & Mermelstein 1980)."""

    def __len__(self) -> int:
        return len(self.scalars)

    @property
    def voiced(self) -> np.ndarray:
        """(T,) bool."""
        return ~np.isnan(self.scalars[:, 0])


def describe(wave: np.ndarray) -> Frames:
    """All descriptors of a wave (samples,) in [-1, 1) at 16 kHz; at least 0.1 s."""
    from scipy.fft import dct

    wave = np.asarray(wave, np.float64)
    pitch, power = track_pitch(wave), _power(wave)
    mel_db = 10 * np.log10(np.maximum(power @ mel_filters(FFT // 2 + 1, MELS, LOWEST_HZ, HIGHEST_HZ), LEAST_POWER))
    mfcc = dct(mel_db, norm="ortho")[:, :COEFFICIENTS]
    hnr = 10 * np.log10(pitch.periodicity / (1 - pitch.periodicity))
    columns = [pitch.log2_hz, hnr, pitch.level_db, *_spectral_shape(power), _zero_crossings(wave), *_harmonics(power, pitch.log2_hz)]
    return Frames(np.column_stack(columns), mel_db, mfcc)


def _power(wave: np.ndarray) -> np.ndarray:
    """(T, bins): frames centred on every hop, zeros beyond the ends, a Hann window in the middle of each."""
    from scipy.fft import rfft
    from scipy.signal import get_window

    window = np.pad(get_window("hann", WINDOW), (FFT - WINDOW) // 2)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, FFT // 2), FFT)[::HOP]
    spectra = rfft(frames * window)
    return spectra.real**2 + spectra.imag**2


def _spectral_shape(power: np.ndarray) -> list[np.ndarray]:
    """power (T, bins) -> centroid, spread, rolloffs, alpha ratio, Hammarberg index, slopes, log flatness, log flux; each (T,)."""
    power = power + 1e-12
    hz = np.arange(power.shape[1]) * BIN_HZ
    total = power.sum(axis=1)
    centroid = power @ hz / total
    spread = np.sqrt(np.maximum(power @ hz**2 / total - centroid**2, 0))
    cumulative = np.cumsum(power, axis=1) / total[:, None]
    rolloffs = [hz[np.minimum((cumulative < share).sum(axis=1), len(hz) - 1)] for share in (0.25, 0.5, 0.75, 0.9)]
    decibels = 10 * np.log10(power)

    def bins(low: float, high: float) -> slice:
        return slice(*np.searchsorted(hz, [low, high]))

    def slope(low: float, high: float) -> np.ndarray:
        kilohertz = hz[bins(low, high)] / 1000
        centred = kilohertz - kilohertz.mean()
        return decibels[:, bins(low, high)] @ centred / np.square(centred).sum()

    alpha = 10 * np.log10(power[:, bins(50, 1000)].sum(axis=1) / power[:, bins(1000, 5000)].sum(axis=1))
    hammarberg = decibels[:, bins(0, 2000)].max(axis=1) - decibels[:, bins(2000, 5000)].max(axis=1)
    audible = power[:, bins(LOWEST_HZ, np.inf)]
    flatness = np.log(audible).mean(axis=1) - np.log(audible.mean(axis=1))
    amplitude = np.sqrt(power)
    amplitude /= amplitude.sum(axis=1, keepdims=True)
    flux = np.concatenate([[0.0], np.sqrt(np.square(np.diff(amplitude, axis=0)).sum(axis=1))])
    slopes = [slope(50, 500), slope(500, 1500), slope(1500, 6000)]
    return [centroid, spread, *rolloffs, alpha, hammarberg, *slopes, flatness, np.log(flux + 1e-6)]


def _zero_crossings(wave: np.ndarray) -> np.ndarray:
    """Share of neighbouring samples of different sign within 25 ms, (T,)."""
    crossing = np.concatenate([[0], np.cumsum(np.diff(np.signbit(wave)))])
    centre = np.arange(1 + len(wave) // HOP) * HOP
    low, high = (np.clip(centre + side, 0, len(wave) - 1) for side in (-200, 200))
    return (crossing[high] - crossing[low]) / 400


def _harmonics(power: np.ndarray, log2_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H1-H2 and H1-A3 in dB, (T,) each, 0 where unvoiced: first harmonic less the second, less the strongest from 2.5 to 4 kHz."""
    decibels = 10 * np.log10(power + 1e-12)
    voiced = np.flatnonzero(~np.isnan(log2_hz))
    fundamental = 2.0 ** log2_hz[voiced] / BIN_HZ

    def harmonic(number: int) -> np.ndarray:
        nearby = (number * fundamental).astype(int)[:, None] + np.arange(-2, 4)
        return decibels[voiced[:, None], np.maximum(nearby, 1)].max(axis=1)

    h1_h2, h1_a3 = np.zeros(len(power)), np.zeros(len(power))
    first = harmonic(1)
    h1_h2[voiced] = first - harmonic(2)
    h1_a3[voiced] = first - decibels[voiced, round(2500 / BIN_HZ) : round(4000 / BIN_HZ)].max(axis=1)
    return h1_h2, h1_a3
