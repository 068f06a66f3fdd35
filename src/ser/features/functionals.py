"""One vector per clip from its frames: statistics, rhythm, contours, modulation, and how all this changes in the clip's course."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import scipy.fft

from ser.features.descriptors import SCALARS, Frames

FRAMES_PER_SECOND = 100
FEWEST_VOICED = 5
SEGMENTS = 4
MEL_GROUPS = 16
RHYTHM_HZ = (0.5, 1, 2, 3, 4, 6, 8, 12, 20, 40)
MODULATION_HZ = (0.5, 2, 4, 8, 16, 50)
OF_VOICED_MEL = ("mean", "std", "p5", "p50", "p95")
LEVEL = SCALARS.index("level_db")


def functionals(frames: Frames) -> dict[str, np.ndarray]:
    """Named groups of features (columns,) each, 2736 columns in all, finite for any clip of at least 0.1 s."""
    voiced = frames.voiced if frames.voiced.sum() >= FEWEST_VOICED else np.ones(len(frames), bool)
    scalars, mel, mfcc = with_pitch_everywhere(frames), frames.mel_db, frames.mfcc
    mel_voiced = statistics(mel[voiced])
    bands = _grouped(mel)
    groups = {
        "scalars": _joined(statistics(scalars[:, 1:])),
        "scalars_voiced": _joined(statistics(scalars[voiced])),
        "mfcc": _joined(statistics(mfcc)),
        "mfcc_voiced": _joined(statistics(mfcc[voiced])),
        "mel": _joined(statistics(mel)),
        "mel_voiced": np.concatenate([mel_voiced[name] for name in OF_VOICED_MEL]),
        "rhythm": _rhythm(scalars[:, LEVEL], voiced),
        "pitch_contour": _contour(scalars[:, 0]),
        "level_contour": _contour(scalars[:, LEVEL]),
        "pitch_steps": _pitch_steps(frames.scalars[:, 0]),
        "modulation": np.log(_band_power(bands, MODULATION_HZ) + 1e-3).ravel(),
        "segments": _segments(np.hstack([scalars, mfcc, bands])),
    }
    return {name: np.nan_to_num(values).astype(np.float32) for name, values in groups.items()}


def with_pitch_everywhere(frames: Frames) -> np.ndarray:
    """The scalars (T, 19) with F0 interpolated over unvoiced frames; 7 (128 Hz) throughout where none is voiced."""
    scalars, voiced = frames.scalars.copy(), frames.voiced
    times = np.arange(len(frames))
    scalars[:, 0] = np.interp(times, times[voiced], scalars[voiced, 0]) if voiced.any() else 7.0
    return scalars


def statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    """Twelve statistics over time of values (T, D), (D,) each; of fewer than three frames they are zero."""
    if len(values) < 3:
        values = np.zeros((3, values.shape[1]))
    mean, std = values.mean(axis=0), values.std(axis=0) + 1e-6
    percentiles = np.percentile(values, [5, 25, 50, 75, 95], axis=0)
    change = np.diff(values, axis=0)
    time = np.linspace(-1, 1, len(values))
    z = (values - mean) / std
    return {
        "mean": mean,
        "std": std,
        **dict(zip(("p5", "p25", "p50", "p75", "p95"), percentiles, strict=True)),
        "slope": time @ values / np.square(time).sum(),
        "change_std": change.std(axis=0),
        "change_size": np.abs(change).mean(axis=0),
        "skewness": (z * z * z).mean(axis=0),
        "log_kurtosis": np.log(np.square(z * z).mean(axis=0) + 1e-6),
    }


def _joined(groups: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(groups.values()))


def _grouped(mel: np.ndarray) -> np.ndarray:
    """(T, 64) mel bands as (T, 16) means of four neighbours."""
    return mel.reshape(len(mel), MEL_GROUPS, -1).mean(axis=2)


def _rhythm(level: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Duration, voicing and pauses, and how fast the level goes up and down: (19,)."""
    loud = level > np.percentile(level, 95) - 30
    runs, pauses, frames = _run_lengths(voiced), _run_lengths(~loud), len(level)
    timing = [np.log(frames), voiced.mean(), loud.mean(), len(runs) / frames, runs.mean(), runs.max(), runs.std()]
    timing += [pauses.max(), pauses.mean(), len(pauses) / frames]
    return np.concatenate([timing, np.log(_band_power(level[:, None], RHYTHM_HZ)[:, 0] + 1e-6)])


def _run_lengths(flags: np.ndarray) -> np.ndarray:
    """Lengths of the stretches of True; [0] where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return np.diff(edges)[::2] if len(edges) else np.zeros(1)


def _band_power(curves: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Mean modulation power of curves (T, D) between neighbouring edges in Hz, (bands, D)."""
    length = max(1024, 1 << (len(curves) - 1).bit_length())
    window = np.hanning(len(curves))[:, None]
    power = np.square(np.abs(scipy.fft.rfft((curves - curves.mean(axis=0)) * window, length, axis=0)))
    hz = scipy.fft.rfftfreq(length, 1 / FRAMES_PER_SECOND)
    return np.array([power[(hz >= low) & (hz < high)].mean(axis=0) for low, high in pairwise(edges)])


def _contour(curve: np.ndarray) -> np.ndarray:
    """The first ten cosine coefficients of a curve (T,) stretched to 64 points."""
    stretched = np.interp(np.linspace(0, 1, 64), np.linspace(0, 1, len(curve)), curve)
    return scipy.fft.dct(stretched, norm="ortho")[:10]


def _pitch_steps(log2_hz: np.ndarray) -> np.ndarray:
    """How F0 moves from frame to frame while voiced, akin to jitter: (5,), in octaves."""
    steps = np.diff(log2_hz)
    steps = steps[~np.isnan(steps)]
    if len(steps) < 3:
        steps = np.zeros(3)
    size = np.abs(steps)
    return np.array([size.mean(), np.percentile(size, 90), np.abs(np.diff(steps)).mean(), steps.max(), steps.min()])


def _segments(values: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of values (T, D) in four parts of equal length, (4 * 2 * D,)."""
    parts = [part if len(part) else values[-1:] for part in np.array_split(values, SEGMENTS)]
    return np.concatenate([statistic for part in parts for statistic in (part.mean(axis=0), part.std(axis=0))])
