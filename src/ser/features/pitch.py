"""Fundamental frequency by autocorrelation (Boersma 1993), the path through its candidates by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft
from scipy.signal import get_window

from ser.audio import SAMPLE_RATE

HOP = SAMPLE_RATE // 100
WINDOW = SAMPLE_RATE // 20
SHORTEST, LONGEST = SAMPLE_RATE // 600, SAMPLE_RATE // 65
"""Lags in samples: from 600 Hz down to 65 Hz."""
FFT = scipy.fft.next_fast_len(WINDOW + LONGEST + 2, real=True)
"""Long enough that the end of a frame doesn't wrap around to its beginning."""
CANDIDATES = 8
OCTAVE_COST = 0.02
JUMP_COST = 0.5
"""Per octave between two frames."""
SWITCH_COST = 0.14
"""Between voiced and unvoiced."""
UNVOICED_STRENGTH = 0.45
"""What a periodicity must exceed to count as a voice; more in frames 40 dB and further below the loud ones."""


@dataclass(frozen=True)
class Pitch:
    """One value per 10 ms frame, T of them: the first is centred on the first sample."""

    log2_hz: np.ndarray
    """(T,) float64, NaN where unvoiced."""
    periodicity: np.ndarray
    """(T,) in (0, 1): normalised autocorrelation at the period."""
    level_db: np.ndarray
    """(T,) mean square of 50 ms without their mean, dB."""


def track_pitch(wave: np.ndarray) -> Pitch:
    """The pitch of a wave (samples,) in [-1, 1) at 16 kHz, 65 to 600 Hz."""
    padded = np.pad(np.asarray(wave, np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    lags, strengths, periodicity = _candidates(_autocorrelation(frames))
    log2_hz = np.log2(SAMPLE_RATE / lags)
    unvoiced = UNVOICED_STRENGTH + np.clip((np.percentile(level, 95) - 40 - level) / 20, 0, 1)
    chosen = _best_path(strengths, unvoiced, log2_hz)
    voiced, candidate, row = chosen < CANDIDATES, np.minimum(chosen, CANDIDATES - 1), np.arange(len(chosen))
    return Pitch(
        log2_hz=np.where(voiced, log2_hz[row, candidate], np.nan),
        periodicity=np.clip(np.where(voiced, periodicity[row, candidate], periodicity[:, 0]), 1e-3, 0.9999),
        level_db=level,
    )


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """(T, lags) from one below the shortest to one above the longest, the Hann window's own decay divided out."""
    window = get_window("hann", WINDOW)

    def correlate(values: np.ndarray) -> np.ndarray:
        spectrum = scipy.fft.rfft(values, FFT)
        return scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2)[..., : LONGEST + 2]

    of_frames, of_window = correlate(frames * window), correlate(window)
    normalised = of_frames / (of_frames[:, :1] + 1e-9) / (of_window / of_window[0])
    return normalised[:, SHORTEST - 1 :]


def _candidates(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest peaks of each frame: lag in samples (between samples by a parabola), strength, correlation; each (T, CANDIDATES)."""
    before, here, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    lag = np.arange(SHORTEST, LONGEST + 1)
    peak = (here > before) & (here >= after)
    strength = np.where(peak, here, -1) - OCTAVE_COST * np.log2(lag / SHORTEST)
    best = np.argsort(-strength, axis=1)[:, :CANDIDATES]
    strength, before, here, after = (np.take_along_axis(values, best, 1) for values in (strength, before, here, after))
    offset = np.clip(0.5 * (before - after) / (before - 2 * here + after - 1e-12), -0.5, 0.5)
    return lag[best] + offset, strength, here


@numba.njit(cache=True)
def _best_path(strengths, unvoiced, log2_hz):  # pragma: no cover - compiled
    """Viterbi: the candidate of each frame, or CANDIDATES where unvoiced, with the greatest strength less the cost of jumps."""
    frames, count = strengths.shape
    back = np.zeros((frames, count + 1), np.int64)
    cost = np.empty(count + 1)
    cost[:count], cost[count] = -strengths[0], -unvoiced[0]
    for t in range(1, frames):
        reached = np.empty(count + 1)
        for to in range(count + 1):
            best, origin = np.inf, 0
            for start in range(count + 1):
                step = cost[start]
                if (to == count) != (start == count):
                    step += SWITCH_COST
                elif to != count:
                    step += JUMP_COST * abs(log2_hz[t - 1, start] - log2_hz[t, to])
                if step < best:
                    best, origin = step, start
            reached[to] = best - (unvoiced[t] if to == count else strengths[t, to])
            back[t, to] = origin
        cost = reached
    path = np.zeros(frames, np.int64)
    path[-1] = np.argmin(cost)
    for t in range(frames - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
