"""Which voice each clip to predict has: a speaker known from training or a new one; how far apart voices are, for `clustering` as well.

The training clips, whose speakers are known, teach which directions of the feature space tell voices apart. In that space the clips
to predict are clustered together with the known speakers: each either belongs to one of them or to a new voice. Emotion
labels play no part.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser.runtime.errors import UserError

COMPONENTS = 120
SHRINKAGE = 0.05
HEIGHT = 200.0
"""Clusters are merged while that adds less than this to the sum of squares; the variance within a speaker is 1 per axis."""
SMALLEST = 12
"""A new voice has at least so many clips; smaller groups go to the nearest of the others."""
ROUNDS = 20
NEAR_SHARE = 0.75
"""Near a known voice is what is no farther than this share of its own speakers' clips were, held out. With whisper-base on RAVDESS nine of
ten clips of known voices are, and one of ten of new ones."""
HELD_OUT_PARTS = 3
MOST_CLIPS = 12_000


@dataclass(frozen=True)
class SpeakerSpace:
    """A linear map of features (D,) to K - 1 axes that tell K known speakers apart, and where each of them lies there."""

    center: np.ndarray
    """(D,)"""
    directions: np.ndarray
    """(D, K - 1)"""
    means: np.ndarray
    """(K, K - 1)"""
    counts: np.ndarray
    """(K,) training clips of each speaker."""

    @classmethod
    def fit(cls, features: np.ndarray, speakers: np.ndarray) -> SpeakerSpace:
        """features: (n, D), comparable columns. speakers: (n,) integers 0..K-1.

        Principal components, then linear discriminant analysis with a slightly shrunk covariance (as Ledoit & Wolf 2004).
        Raises UserError for fewer than two speakers, or only one clip of each.
        """
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        counts = np.bincount(speakers)
        if len(counts) < 2 or len(features) <= len(counts):
            raise UserError(
                "model.classical.speaker_normalization found learns from the training clips what tells voices apart, but there are "
                f"{len(features)} clips of {len(counts)} speaker(s). It needs two speakers or more and several clips of each; else "
                "choose none."
            )
        components = PCA(min(COMPONENTS, len(features) - 1, features.shape[1]), random_state=0).fit(features)
        reduced = components.transform(features)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Only one sample available")  # a speaker of one clip tells nothing, and harms nothing
            discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE).fit(reduced, speakers)
        directions = components.components_.T @ discriminant.scalings_[:, : len(counts) - 1]
        points = (features - components.mean_) @ directions
        means = np.array([points[speakers == speaker].mean(axis=0) for speaker in range(len(counts))])
        return cls(components.mean_, directions, means, counts)

    def project(self, features: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, K - 1)."""
        return (features - self.center) @ self.directions


def find_speakers(points: np.ndarray, known_means: np.ndarray, known_counts: np.ndarray) -> np.ndarray:
    """The speaker of each point (n, A): k < K is the k-th known one, K and above are new voices, numbered from K on.

    Ward's clustering (1963) from the known speakers, by their means (K, A) and clips (K,), which never merge with one another, and single
    clips; then k-means, in which the known speakers' own clips stay where they are.
    """
    known = len(known_means)
    if len(points) > MOST_CLIPS:
        raise UserError(f"{len(points)} clips are too many to find speakers among at once; at most {MOST_CLIPS}. Predict them in parts.")
    cluster = _ward(points, known_means, known_counts)
    sizes = np.bincount(cluster, minlength=known)
    kept = np.flatnonzero((np.arange(len(sizes)) < known) | (sizes >= SMALLEST))
    for _ in range(ROUNDS):
        centers = np.array([_center(points[cluster == number], number, known_means, known_counts) for number in kept])
        nearest = kept[_squared_distances(points, centers).argmin(axis=1)]
        if np.array_equal(nearest, cluster):
            break
        cluster = nearest
    new = {number: known + place for place, number in enumerate(sorted(set(cluster[cluster >= known].tolist())))}
    return np.array([new.get(number, number) for number in cluster.tolist()], np.int64)


def nearest_speakers(points: np.ndarray, known_means: np.ndarray, near: float) -> np.ndarray:
    """The nearest known speaker of each point (n, A) by itself, POOLED (-1) where none is within the squared distance `near`."""
    distances = _squared_distances(points, known_means)
    return np.where(distances.min(axis=1) <= near, distances.argmin(axis=1), -1)


def held_out_distance(features: np.ndarray, speakers: np.ndarray) -> float:
    """How far (squared) a clip that a space wasn't fitted to lies from its nearest speaker, for NEAR_SHARE of the clips (n, D)."""
    part = np.random.default_rng(0).permutation(len(features)) % HELD_OUT_PARTS
    nearest = np.empty(len(features))
    for number in range(HELD_OUT_PARTS):
        seen = part != number
        space = SpeakerSpace.fit(features[seen], np.unique(speakers[seen], return_inverse=True)[1])
        nearest[~seen] = _squared_distances(space.project(features[~seen]), space.means).min(axis=1)
    return float(np.quantile(nearest, NEAR_SHARE))


def _center(members: np.ndarray, number: int, known_means: np.ndarray, known_counts: np.ndarray) -> np.ndarray:
    """The mean of a cluster; a new one that lost its last member is nowhere near anything."""
    if number < len(known_means):
        return (known_counts[number] * known_means[number] + members.sum(axis=0)) / (known_counts[number] + len(members))
    return members.mean(axis=0) if len(members) else np.full(known_means.shape[1], 1e6)


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.maximum(np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * first @ second.T, 0)


def _ward(points: np.ndarray, known_means: np.ndarray, known_counts: np.ndarray) -> np.ndarray:
    """Cluster of each point: below K a known speaker, else K and the position of one of its points."""
    known, count = len(known_means), len(known_means) + len(points)
    means = np.vstack([known_means, points])
    sizes = np.concatenate([known_counts, np.ones(len(points))]).astype(float)
    cost = _squared_distances(means, means) * (sizes[:, None] * sizes / (sizes[:, None] + sizes))
    np.fill_diagonal(cost, np.inf)
    cost[:known, :known] = np.inf
    owner, alive = np.arange(count), np.ones(count, bool)
    nearest = cost.argmin(axis=1)
    lowest = cost[np.arange(count), nearest]
    while True:
        kept = int(lowest.argmin())
        gone = int(nearest[kept])
        if not lowest[kept] <= HEIGHT:
            return owner[known:]
        if gone < known:
            kept, gone = gone, kept
        means[kept] = (sizes[kept] * means[kept] + sizes[gone] * means[gone]) / (sizes[kept] + sizes[gone])
        sizes[kept] += sizes[gone]
        owner[owner == gone] = kept
        alive[gone] = False
        row = np.square(means - means[kept]).sum(axis=1) * sizes * sizes[kept] / (sizes + sizes[kept])
        row[~alive] = np.inf
        row[kept] = np.inf
        if kept < known:
            row[:known] = np.inf
        cost[kept], cost[:, kept] = row, row
        cost[gone], cost[:, gone] = np.inf, np.inf
        # Only rows whose nearest was touched need a new search; the others can at most have come nearer to the kept one.
        stale = np.flatnonzero((nearest == gone) | (nearest == kept) | (np.arange(count) == kept))
        nearest[stale] = cost[stale].argmin(axis=1)
        lowest[stale] = cost[stale, nearest[stale]]
        nearer = row < lowest
        nearest[nearer], lowest[nearer] = kept, row[nearer]
        lowest[gone] = np.inf


def as_integers(speakers: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Names as integers 0..K-1 (n,), and the names in their order."""
    names, integers = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    return integers, tuple(names.tolist())
