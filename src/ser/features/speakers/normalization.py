"""Features as differences to their speaker's own way of speaking: less the speaker's mean, by the speaker's spread.

Statistics of known speakers come from training clips; clips to predict that were given to one of them add to theirs, and those of a new
voice make its own. So the emotions among the clips of a new voice should be mixed: of a voice that only ever shouts, shouting becomes
the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ser.features.speakers.finding import SMALLEST

POOLED = -1
"""The speaker of a clip of which nothing is known: it is compared with all voices together."""
FIRST_LIMIT, LAST_LIMIT = 8.0, 5.0
LEAST_SPREAD = 0.1
"""A feature that hardly varies within a voice isn't blown up, in standard deviations over all voices."""


@dataclass(frozen=True)
class SpeakerNormalizer:
    """What one block of D features looks like over all training clips, and for each of K known speakers."""

    mean: np.ndarray
    std: np.ndarray
    counts: np.ndarray
    """(K,) training clips of each speaker."""
    means: np.ndarray
    """(K, D), of standardised features."""
    variances: np.ndarray
    """(K, D)"""
    mean_after: np.ndarray
    std_after: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, speakers: np.ndarray) -> tuple[SpeakerNormalizer, np.ndarray]:
        """features: (n, D). speakers: (n,) integers 0..K-1, or POOLED. Returns the normalizer and the features normalised by it."""
        features = np.asarray(features, np.float64)
        mean, std = features.mean(axis=0), features.std(axis=0) + 1e-8
        standard = _standardize(features, mean, std)
        members = [standard[speakers == speaker] for speaker in range(int(speakers.max()) + 1)]
        width = features.shape[1]
        nothing = np.zeros(width)
        counts = np.array([len(rows) for rows in members], np.int64)
        means = np.array([rows.mean(axis=0) if len(rows) else nothing for rows in members]).reshape(-1, width)
        variances = np.array([rows.var(axis=0) if len(rows) else nothing for rows in members]).reshape(-1, width)
        relative = np.empty_like(standard)
        for speaker in np.unique(speakers):
            rows = speakers == speaker
            moments = (0, nothing, nothing) if speaker == POOLED else (counts[speaker], means[speaker], variances[speaker])
            relative[rows] = _relative(standard[rows], *moments)
        mean_after, std_after = relative.mean(axis=0), relative.std(axis=0) + 1e-8
        normalizer = cls(mean, std, counts, means, variances, mean_after, std_after)
        return normalizer, normalizer._finish(relative)

    def standardize(self, features: np.ndarray) -> np.ndarray:
        """(m, D) -> (m, D) with mean 0 and standard deviation 1 over the training clips, whoever speaks."""
        return _standardize(np.asarray(features, np.float64), self.mean, self.std)

    def plain(self, features: np.ndarray) -> np.ndarray:
        """(m, D) -> (m, D) for a classifier that knows no speakers: standardised, without outliers."""
        return np.clip(self.standardize(features), -LAST_LIMIT, LAST_LIMIT)

    def normalize(self, features: np.ndarray, speakers: np.ndarray, join: bool = True) -> np.ndarray:
        """features: (m, D). speakers: (m,), k < K the k-th known one, from K on new ones, POOLED unknown. Returns (m, D).

        join: these clips add to what is known of their speakers; else the training clips alone say how a speaker speaks.
        """
        standard = self.standardize(features)
        relative = np.empty_like(standard)
        for speaker in np.unique(speakers):
            rows = speakers == speaker
            if speaker == POOLED:
                moments = (0, 0.0, 0.0)
            elif join:
                moments = self._with_training_clips(standard[rows], speaker)
            else:
                moments = (self.counts[speaker], self.means[speaker], self.variances[speaker])
            relative[rows] = _relative(standard[rows], *moments)
        return self._finish(relative)

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays by name, to be saved; `SpeakerNormalizer(**tensors)` is the same again."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def _with_training_clips(self, standard: np.ndarray, speaker: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Count, mean and variance of a speaker's clips, those given and those of the training part together."""
        count, mean, variance = len(standard), standard.mean(axis=0), standard.var(axis=0)
        if speaker >= len(self.counts):
            return count, mean, variance
        before = int(self.counts[speaker])
        total = before + count
        joint = (before * self.means[speaker] + count * mean) / total
        spread = before * (self.variances[speaker] + (self.means[speaker] - joint) ** 2) + count * (variance + (mean - joint) ** 2)
        return total, joint, spread / total

    def _finish(self, relative: np.ndarray) -> np.ndarray:
        return np.clip((relative - self.mean_after) / self.std_after, -LAST_LIMIT, LAST_LIMIT)


def _standardize(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return np.clip((features - mean) / std, -FIRST_LIMIT, FIRST_LIMIT)


def _relative(standard: np.ndarray, count: int, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Features relative to a speaker; a speaker of too few clips says too little, and all voices together stand in."""
    if count < SMALLEST:
        return standard
    return (standard - mean) / np.maximum(np.sqrt(variance), LEAST_SPREAD)
