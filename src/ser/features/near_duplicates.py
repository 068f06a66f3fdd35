"""The same recording twice although the samples differ: copies that were re-encoded, made louder, cut or padded.

`ser.data.duplicates` finds clips whose samples are equal. Here the waves themselves are laid over one another: a copy correlates by nearly
1 whatever its level, two takes of a sentence by one actor by 0.2, seldom 0.5 (the highest of 5,000 likely pairs of RAVDESS was 0.54). Only
likely pairs are tried, those whose average spectra are nearest, so it costs a look at each clip and not at each pair. A copy at another
speed or pitch isn't found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ser.audio import SAMPLE_RATE
from ser.features.spectral import Spectrum, log_mel
from ser.runtime.progress import ProgressBar

NEIGHBOURS = 5
"""Clips that each clip is laid over."""
ALIKE = 0.75
"""Correlation from which on two clips count as one recording."""
LOUD_DB = 20.0
"""Below the loudest frame, from which on a frame is looked at."""
STEP = 4
"""Every fourth sample of a smoothed wave: 4 kHz hold what speech mostly is, and cost a quarter."""
LEAST_OVERLAP = 0.5
"""Of the shorter clip, that must lie over the other."""


def near_duplicates(wave: Callable[[int], np.ndarray], rows: Sequence[int]) -> pd.DataFrame:
    """Pairs of clips that are one recording: columns first, second (of `rows`), correlation, shift (seconds that second begins later).

    wave: row -> float32 (T,) at 16 kHz. The most alike come first; clips with equal samples are among them.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = np.asarray(rows)
    if len(rows) < 2:
        return pd.DataFrame(columns=["first", "second", "correlation", "shift"])
    looks = np.array([_look(wave(row)) for row in ProgressBar(rows.tolist(), "looking for near-duplicates")])
    looks = (looks - looks.mean(axis=0)) / (looks.std(axis=0) + 1e-9)
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(rows))).fit(looks).kneighbors(looks, return_distance=False)
    pairs = sorted({(min(a, b), max(a, b)) for a, others in enumerate(nearest.tolist()) for b in others if a != b})
    thin = {place: _thinned(wave(rows[place])) for place in sorted({place for pair in pairs for place in pair})}
    found = [(rows[a], rows[b], *overlap(thin[a], thin[b])) for a, b in ProgressBar(pairs, "comparing likely pairs")]
    table = pd.DataFrame(found, columns=["first", "second", "correlation", "shift"])
    table["shift"] *= STEP / SAMPLE_RATE
    return table[table["correlation"] >= ALIKE].sort_values("correlation", ascending=False, kind="stable", ignore_index=True)


def overlap(first: np.ndarray, second: np.ndarray) -> tuple[float, int]:
    """The highest correlation of two waves over all shifts, each judged over the samples that lie over one another, and the shift.

    A shift of s lays second[0] over first[s].
    """
    from scipy.signal import correlate

    least = max(1, int(LEAST_OVERLAP * min(len(first), len(second))))
    shifts = np.arange(least - len(second), len(first) - least + 1)
    products = correlate(first.astype(float), second.astype(float), method="fft")[shifts + len(second) - 1]
    starts, ends = np.maximum(shifts, 0), np.minimum(shifts + len(second), len(first))
    energy = _energy(first, starts, ends) * _energy(second, starts - shifts, ends - shifts)
    # Silence lies over anything: a pair of parts counts for no more than its share of the two clips' energy.
    whole = float((first.astype(float) ** 2).sum() * (second.astype(float) ** 2).sum())
    correlation = products / np.sqrt(np.maximum(energy, 0.25 * whole + 1e-12))
    best = int(correlation.argmax())
    return float(correlation[best]), int(shifts[best])


def _energy(wave: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(wave.astype(float) ** 2)])
    return sums[ends] - sums[starts]


def _look(wave: np.ndarray) -> np.ndarray:
    """(64,): mean and deviation over time of 32 mel bands where there is sound, at a level that doesn't matter."""
    level = log_mel(wave, Spectrum(mels=32)).numpy()
    of_frame = level.mean(axis=1)
    loud = level[of_frame >= of_frame.max() - LOUD_DB]  # whatever silence is around it
    return np.concatenate([loud.mean(axis=0) - loud.mean(), loud.std(axis=0)])


def _thinned(wave: np.ndarray) -> np.ndarray:
    from scipy.signal import decimate

    return decimate(wave, STEP, ftype="fir").astype(np.float32)
