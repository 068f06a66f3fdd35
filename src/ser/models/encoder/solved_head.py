"""The linear head of an encoder solved: logistic regression on pooled outputs; which penalty, by inner folds.

Pooled features of a pretrained encoder have a mean many times their deviation; a linear layer under AdamW hardly moves on them.
Standardised, the problem is convex and small, and Newton's method with conjugate gradients is at its end in a tenth of a second (L-BFGS
stops early, and took ten times as long where scipy's and numpy's threads met). How much regularisation suits is asked of the training
part alone, by an inner cross-validation over speakers where they are known.

Layers that are to be summed begin with equal say. Asked the same way, one layer could be chosen, and was: inner folds prefer a lower one
than new voices do (docs/pretrained.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

INNER_FOLDS = 4
FREEDOMS = (0.003, 0.01, 0.03, 0.1)
"""Inverse strengths of the L2 penalty that are tried."""
AS_GOOD = 0.01
"""Log-likelihood a clip: the freest head that is worse by no more is taken, as a stiffer one is better calibrated rather than better."""
TOLERANCE = 1e-4
SCORING_TOLERANCE = 1e-3
"""Of inner scores, which it moves by up to 0.003, a third of AS_GOOD; it takes half the time."""
INPUT_SHARE = 1e-4
"""Of a layer's weight, for what goes into the first layer: it knows nothing of its surroundings yet."""
SMALLEST_SHARE = 1e-10
"""Of the largest variance in any direction: what is below is rounding."""
TEMPERATURES = 2.0 ** np.linspace(-2, 2, 17)


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
    freedom: float
    """The inverse strength of the penalty that was chosen."""


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
    parts, weights = list(_inner_folds(labels, speakers, seed)), "balanced" if balanced else None
    shares = _equal_say(pooled) if sum_layers else None
    standard = _Standard(pooled.reshape(len(pooled), -1) if shares is None else np.einsum("clf,l->cf", pooled, shares))
    scores = _inner_scores(standard, labels, parts, FREEDOMS, weights)
    freedom = max(value for value, score in zip(FREEDOMS, scores, strict=True) if score >= max(scores) - AS_GOOD)
    return standard.solution(_regression(freedom, weights).fit(standard.rows, labels), n_labels, shares, freedom)


def _equal_say(pooled: np.ndarray) -> np.ndarray:
    """Weights of the layers, (layers,) with sum 1, such that each moves their sum as much: late ones of some encoders are much larger."""
    deviation = pooled.std(0).mean(-1)
    shares = 1 / np.maximum(deviation, 1e-6)
    shares[0] *= INPUT_SHARE
    return shares / shares.sum()


class _Standard:
    """Standardised features in no more directions than there are clips, which changes no fit of a penalised linear model."""

    def __init__(self, features: np.ndarray):
        self.mean, deviation = features.mean(0), features.std(0)
        self.scale = np.where(deviation > 1e-6, deviation, 1.0)
        rows, self.directions = (features - self.mean) / self.scale, None
        if rows.shape[1] > len(rows):
            values, vectors = np.linalg.eigh(rows @ rows.T)  # a twentieth of the time of an SVD of the rows
            kept = values > SMALLEST_SHARE * values[-1]
            lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
            self.directions = (vectors / lengths).T @ rows
            rows = vectors * lengths
        self.rows = rows

    def solution(self, fitted: LogisticRegression, n_labels: int, layer_shares: np.ndarray | None, freedom: float) -> Solution:
        """The fitted head on the features as they were; a label without clips gets logits that never win."""
        weight, bias = np.zeros((n_labels, len(self.mean))), np.full(n_labels, -20.0)
        found, offsets = fitted.coef_, fitted.intercept_
        if len(fitted.classes_) == 2:  # scikit-learn has one row for two classes
            found, offsets = np.concatenate([-found, found]) / 2, np.concatenate([-offsets, offsets]) / 2
        weight[fitted.classes_] = found if self.directions is None else found @ self.directions
        bias[fitted.classes_] = offsets
        return Solution(self.mean, self.scale, weight, bias, layer_shares, freedom)


def _inner_folds(labels: np.ndarray, speakers: Sequence[str] | None, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to fit, rows to judge); none at all where clips or speakers are too few for it."""
    rarest = np.unique(labels, return_counts=True)[1].min()
    if rarest < INNER_FOLDS:
        return
    if speakers is not None and len(set(speakers)) >= INNER_FOLDS:
        folds = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed).split(labels, labels, np.asarray(speakers))
    else:
        folds = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    everything = len(np.unique(labels))
    yield from ((fit, judge) for fit, judge in folds if len(np.unique(labels[fit])) == everything and len(judge))


def _inner_scores(standard: _Standard, labels: np.ndarray, parts: list, freedoms: Sequence[float], weights: str | None) -> list[float]:
    """For each freedom the mean log-likelihood of the judged clips at the temperature that suits best; 0 where nothing is judged."""
    if not parts:
        return [0.0] * len(freedoms)
    _, places = np.unique(labels, return_inverse=True)
    truth, logs = np.concatenate([places[judge] for _, judge in parts]), []
    for fit, judge in parts:
        model = _regression(freedoms[0], weights, SCORING_TOLERANCE)  # each freedom goes on from the solution of the one before
        fitted = (model.set_params(C=freedom).fit(standard.rows[fit], labels[fit]) for freedom in freedoms)
        logs.append([each.predict_log_proba(standard.rows[judge]) for each in fitted])
    return [_likelihood(np.concatenate(of_parts), truth) for of_parts in zip(*logs, strict=True)]


def _likelihood(logs: np.ndarray, truth: np.ndarray) -> float:
    return max(log_softmax(logs * factor, axis=1)[np.arange(len(truth)), truth].mean() for factor in TEMPERATURES)


def _regression(freedom: float, weights: str | None, tolerance: float = TOLERANCE) -> LogisticRegression:
    return LogisticRegression(C=freedom, class_weight=weights, solver="newton-cg", max_iter=500, tol=tolerance, warm_start=True)
