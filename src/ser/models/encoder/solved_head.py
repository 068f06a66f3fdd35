"""The linear head of an encoder solved: linear discriminant analysis of pooled outputs; how its covariance is shrunk, by inner folds.

Pooled features of a pretrained encoder have a mean many times their deviation; a linear layer under AdamW hardly moves on them. Here each
label is a normal distribution with its own mean and a covariance that all share (Fisher 1936), drawn towards a multiple of the identity
because clips are fewer than features (Friedman 1989). That has a closed form, and where several of Whisper's layers are pooled it beats
penalised logistic regression, which it took the place of (docs/pretrained.md). How far to shrink, and how sure the answers may be, is
asked of the training part alone, by an inner cross-validation over speakers where they are known.

Layers that are to be summed begin with equal say. Asked the same way, one layer could be chosen, and was: inner folds prefer a lower one
than new voices do (docs/pretrained.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve as solve_linear
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

INNER_FOLDS = 4
SHRINKAGES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
"""Shares of the identity in the covariance that are tried; of as many dimensions as there are features, or clips where these are fewer."""
TEMPERATURES = 2.0 ** np.linspace(-5, 0, 21)
"""What the evidence, which more features than clips make too sure, may be multiplied by. Of equals the first is taken, the least sure."""
WITHOUT_INNER_FOLDS = 0.5, 0.2
"""Shrinkage and temperature where nothing can be judged: what inner folds choose where they can."""
JUDGED = 0.9
"""Of the clips, at least; fewer say little of all."""
INPUT_SHARE = 1e-4
"""Of a layer's weight, for what goes into the first layer: it knows nothing of its surroundings yet."""
SMALLEST_SHARE = 1e-10
"""Of the largest variance in any direction: what is below is rounding."""
NEVER = -20.0
"""The logit of a label without clips; the largest of the others is at least 0."""


@dataclass(frozen=True)
class Solution:
    """Logits = weight @ (features - mean) / scale + bias."""

    mean: np.ndarray
    """(features,), like `scale`."""
    scale: np.ndarray
    weight: np.ndarray
    """(labels, features)."""
    bias: np.ndarray
    """(labels,)."""
    layer_shares: np.ndarray | None
    """(layers,), with sum 1, where features are a weighted sum of layers."""
    shrinkage: float
    """The share of the identity in the covariance that was chosen."""


def solve(
    pooled: np.ndarray,
    labels: np.ndarray,
    n_labels: int,
    speakers: Sequence[str] | None,
    sum_layers: bool,
    balanced: bool,
    seed: int,
) -> Solution:
    """Fit the head to the pooled features (clips, layers, features) of the training part.

    sum_layers: features are a weighted sum of the layers; otherwise these count side by side. balanced: every label weighs the same in all.
    """
    pooled = pooled.astype(np.float64)
    shares = _equal_say(pooled) if sum_layers else None
    standard = _Standard(pooled.reshape(len(pooled), -1) if shares is None else np.einsum("clf,l->cf", pooled, shares))
    del pooled
    present, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    priors = np.full(len(counts), 1 / len(counts)) if balanced else counts / len(places)
    shrinkage, temperature = _chosen(standard.rows, places, list(_inner_folds(places, speakers, seed)), priors)
    ((found, offsets),) = _discriminants(standard.rows, places, (shrinkage,))
    weight, bias = np.zeros((n_labels, len(standard.mean))), np.full(n_labels, NEVER)
    weight[present] = temperature * standard.of_features(found - found.mean(0))
    offsets = temperature * offsets + np.log(priors)
    bias[present] = offsets - offsets.mean()
    return Solution(standard.mean, standard.scale, weight, bias, shares, shrinkage)


def _equal_say(pooled: np.ndarray) -> np.ndarray:
    """Weights of the layers, (layers,) with sum 1, such that each moves their sum as much: late ones of some encoders are much larger."""
    deviation = pooled.std(0).mean(-1)
    shares = 1 / np.maximum(deviation, 1e-6)
    shares[0] *= INPUT_SHARE
    return shares / shares.sum()


class _Standard:
    """Standardised features in no more directions than there are clips: nothing tells clips apart in the others."""

    def __init__(self, features: np.ndarray):
        self.mean, deviation = features.mean(0), features.std(0)
        self.scale = np.where(deviation > 1e-6, deviation, 1.0)
        rows, self.directions = features - self.mean, None
        rows /= self.scale
        if rows.shape[1] > len(rows):
            values, vectors = np.linalg.eigh(rows @ rows.T)  # a twentieth of the time of an SVD of the rows
            kept = values > SMALLEST_SHARE * values[-1]
            lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
            self.directions = (vectors / lengths).T @ rows
            rows = vectors * lengths
        self.rows = rows

    def of_features(self, weight: np.ndarray) -> np.ndarray:
        """Weights (labels, features) of the standardised features that do what these of the rows do."""
        return weight if self.directions is None else weight @ self.directions


def _inner_folds(places: np.ndarray, speakers: Sequence[str] | None, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to fit, rows to judge); none at all where clips are too few for it. Labels too rare to be split are only fitted."""
    groups = None if speakers is None or len(set(speakers)) < 2 else np.asarray(speakers)
    parts = INNER_FOLDS if groups is None else min(INNER_FOLDS, len(set(groups)))
    often = np.bincount(places)[places] >= parts
    judged, always = np.flatnonzero(often), np.flatnonzero(~often)
    if len(judged) < JUDGED * len(places):
        return
    if groups is not None:
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed).split(judged, places[judged], groups[judged])
    else:
        folds = StratifiedKFold(parts, shuffle=True, random_state=seed).split(judged, places[judged])
    everything = len(np.unique(places))
    for fit, judge in folds:
        fit, judge = np.sort(np.concatenate([judged[fit], always])), judged[judge]
        if len(np.unique(places[fit])) == everything and len(judge):
            yield fit, judge


def _chosen(rows: np.ndarray, places: np.ndarray, parts: list, priors: np.ndarray) -> tuple[float, float]:
    """(shrinkage, temperature): those of the largest likelihood of the judged clips, whose labels weigh what the priors say."""
    if not parts:
        return WITHOUT_INNER_FOLDS
    truth, evidence = np.concatenate([places[judge] for _, judge in parts]), []
    for fit, judge in parts:
        evidence.append([rows[judge] @ weight.T + bias for weight, bias in _discriminants(rows[fit], places[fit], SHRINKAGES)])
    weights = (priors / np.bincount(places))[truth]
    scores = np.array(
        [
            [_likelihood(factor * np.concatenate(of_parts) + np.log(priors), truth, weights) for factor in TEMPERATURES]
            for of_parts in zip(*evidence, strict=True)
        ]
    )
    best, factor = np.unravel_index(scores.argmax(), scores.shape)
    return SHRINKAGES[best], float(TEMPERATURES[factor])


def _likelihood(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    return np.average(log_softmax(logits, axis=1)[np.arange(len(truth)), truth], weights=weights)


def _discriminants(rows: np.ndarray, places: np.ndarray, shrinkages: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each shrinkage the weight (labels, columns) and bias (labels,) of the evidence that linear discriminant analysis finds.

    places: labels from 0 on, each with clips. The log likelihood of a label, less what all labels share; its prior is not in it.
    """
    means = np.stack([rows[places == place].mean(0) for place in range(places.max() + 1)])
    apart = rows - means[places]
    covariance = apart.T @ apart
    covariance /= len(rows)
    size = max(len(covariance), 1)  # none where all clips are alike
    least = len(means) / len(rows) * (rows**2).sum() / len(rows)  # a label's one clip, or its copies, say nothing of what varies in it
    variance = max(np.trace(covariance), least, 1e-12) / size
    for shrinkage in shrinkages:
        shrunk = (1 - shrinkage) * covariance
        shrunk.flat[:: len(shrunk) + 1] += shrinkage * variance
        weight = solve_linear(shrunk.T, means.T, assume_a="pos", overwrite_a=True).T
        yield weight, -(weight * means).sum(1) / 2
