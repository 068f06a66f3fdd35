"""Laying clips of nearly the same text over one another, so that frame k of each is the same sound.

Dynamic time warping (Sakoe & Chiba 1978) finds for each frame of a clip its place on a template; what is said cancels
out, and how it is said remains. The template is learnt from the training clips' audio, without labels. For clips of free text there
is no such template: use functionals alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from ser.features.descriptors import Frames
from ser.features.functionals import with_pitch_everywhere

TIMBRE_COEFFICIENTS = 14
CONTENT_COEFFICIENTS = 20
CANDIDATES = 30
JUDGES = 250
"""So many clips at most decide which candidate is most like the others."""
CLIPS = 2000
"""So many clips at most are averaged: enough for any mean."""
ROUNDS = 3
POOLED = 3
"""Template frames (of 20 ms) averaged to one position."""


def timbre(mfcc: np.ndarray) -> np.ndarray:
    """What is compared in the alignment: MFCC (T, >= 14) every 10 ms -> (ceil(T / 2), 28) float32 every 20 ms.

    14 coefficients (the first, loudness, halved) standardised within the clip, which takes the voice out, and 1.5 times their slopes.
    """
    values = mfcc[:, :TIMBRE_COEFFICIENTS].copy()
    values[:, 0] *= 0.5
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 0.5)
    slopes = np.gradient(values, axis=0) if len(values) > 1 else np.zeros_like(values)
    return np.hstack([values, 1.5 * slopes])[::2].astype(np.float32)


def contents(frames: Frames) -> np.ndarray:
    """What is kept of each aligned frame, (ceil(T / 2), 56) float32 every 20 ms: 19 scalars, voicing, 20 MFCC, 16 mel bands."""
    bands = frames.mel_db.reshape(len(frames), 16, 4).mean(axis=2)
    values = np.hstack([with_pitch_everywhere(frames), frames.voiced[:, None], frames.mfcc[:, :CONTENT_COEFFICIENTS], bands])
    if len(values) % 2:
        values = np.vstack([values, values[-1]])
    return values.reshape(len(values) // 2, 2, -1).mean(axis=1).astype(np.float32)


def learn_template(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """The timbre (T, 28) of a typical clip, from the timbres of the training clips in an order that means nothing.

    Begins with the clip, of those of about median length, that is nearest to the others, and is replaced three times by the
    mean of all clips aligned to it.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    candidates = np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")[:CANDIDATES]
    judges = sequences[:: max(1, len(sequences) // JUDGES)]
    costs = [sum(alignment_cost(judge, sequences[row]) for judge in judges) for row in candidates]
    template = sequences[candidates[int(np.argmin(costs))]]
    averaged = sequences[:: max(1, len(sequences) // CLIPS)]
    for _ in range(ROUNDS):
        aligned = np.array([align(sequence, sequence, template) for sequence in averaged])
        mean = aligned.mean(axis=0)
        # Averaging flattens; the template must be as lively as the clips it is compared with.
        template = (mean / (mean.std(axis=0) + 1e-6) * aligned.std(axis=(0, 1))).astype(np.float32)
    return template


def aligned_features(timbres: np.ndarray, frames: np.ndarray, template: np.ndarray) -> np.ndarray:
    """A clip's contents (T, 56) at each position of the template, by its timbre (T, 28): (positions * 56,) float32."""
    on_template = align(frames, timbres, template)
    parts = np.array_split(on_template, max(1, len(template) // POOLED))
    return np.concatenate([part.mean(axis=0) for part in parts]).astype(np.float32)


def align(values: np.ndarray, timbres: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The mean of the values (T, D) whose frames lie on each frame of the template (P, 28), by their timbres (T, 28): (P, D)."""
    path = _path(_accumulate(distances(timbres, template)))
    sums, counts = np.zeros((len(template), values.shape[1])), np.zeros(len(template))
    np.add.at(sums, path[:, 1], values[path[:, 0]])
    np.add.at(counts, path[:, 1], 1)
    return sums / counts[:, None]


def alignment_cost(first: np.ndarray, second: np.ndarray) -> float:
    """Cost of the best alignment of two timbres, by the sum of their lengths."""
    return _accumulate(distances(first, second))[-1, -1] / (len(first) + len(second))


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distance of each frame of one to each frame of the other, (T1, T2)."""
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0)).astype(np.float64)


@numba.njit(cache=True)
def _accumulate(cost):  # pragma: no cover - compiled
    """Cost of the best path to each cell by the steps (1, 1), (1, 0), (0, 1)."""
    rows, columns = cost.shape
    total = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            best = 0.0
            if i and j:
                best = min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
            elif i:
                best = total[i - 1, j]
            elif j:
                best = total[i, j - 1]
            total[i, j] = cost[i, j] + best
    return total


@numba.njit(cache=True)
def _path(total):  # pragma: no cover - compiled
    """The best path's cells from end to start, (steps, 2)."""
    i, j = total.shape[0] - 1, total.shape[1] - 1
    path = np.zeros((i + j + 1, 2), np.int64)
    path[0] = i, j
    count = 1
    while i or j:
        if not i:
            j -= 1
        elif not j:
            i -= 1
        elif total[i - 1, j - 1] <= min(total[i - 1, j], total[i, j - 1]):
            i, j = i - 1, j - 1
        elif total[i - 1, j] <= total[i, j - 1]:
            i -= 1
        else:
            j -= 1
        path[count] = i, j
        count += 1
    return path[:count]
