"""Scores of predicted probabilities, and how sure one can be of them.

No accuracy goes without its company: the number of clips, what always answering the commonest label would reach
(majority), macro-F1, UAR (unweighted average recall) and a 95 % bootstrap interval, by speaker where speakers are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser.runtime.errors import UserError


def scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict:
    """All scores of one set of predictions.

    labels: (N,) integers in [0, C). probabilities: (N, C). speakers: N names, None where unknown.
    Returns n, accuracy, accuracy_low, accuracy_high (95 % interval), interval_by ("speaker" or "clip"), majority,
    macro_f1, uar, log_loss. Raises UserError when there is nothing to score or the shapes don't fit.
    """
    result = quick_scores(labels, probabilities)
    labels = np.asarray(labels)
    correct = (np.asarray(probabilities).argmax(axis=1) == labels).astype(float)
    clusters = _clusters(speakers, len(labels))
    low, high = bootstrap_interval(correct, clusters, seed, resamples)
    return {
        "n": len(labels),
        "accuracy": result["accuracy"],
        "accuracy_low": low,
        "accuracy_high": high,
        "interval_by": "clip" if clusters is None else "speaker",
        "majority": majority_baseline(labels),
        "macro_f1": result["macro_f1"],
        "uar": result["uar"],
        "log_loss": result["log_loss"],
    }


def quick_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """accuracy, macro_f1, uar and log_loss without the interval, as needed after every epoch. Arguments as in `scores`."""
    labels, probabilities = _checked(labels, probabilities)
    matrix = confusion_matrix(labels, probabilities)
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    # Recall of a label that never occurs is undefined and left out; F1 counts every label of the set, as 0 where never hit.
    recall = hits[true > 0] / true[true > 0]
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "macro_f1": float(f1.mean()),
        "uar": float(recall.mean()),
        "log_loss": log_loss(labels, probabilities),
    }


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log probability of the true label, in nats; a probability of 0 counts as the smallest float step."""
    of_truth = np.asarray(probabilities, dtype=float)[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, np.finfo(float).eps, 1)).mean())


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts (C, C): row is the true label, column the predicted one."""
    count = probabilities.shape[1]
    flat = np.bincount(np.asarray(labels) * count + probabilities.argmax(axis=1), minlength=count * count)
    return flat.reshape(count, count)


def per_class(labels: np.ndarray, probabilities: np.ndarray, label_names: Sequence[str]) -> pd.DataFrame:
    """One row per label: label, n (true clips), predicted (clips given it), precision, recall, f1 (0 where undefined)."""
    matrix = confusion_matrix(*_checked(labels, probabilities))
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return pd.DataFrame(
        {
            "label": list(label_names),
            "n": true,
            "predicted": predicted,
            "precision": hits / np.maximum(predicted, 1),
            "recall": hits / np.maximum(true, 1),
            "f1": 2 * hits / np.maximum(true + predicted, 1),
        }
    )


def majority_baseline(labels: np.ndarray) -> float:
    """Accuracy of always answering the commonest label."""
    return float(np.bincount(np.asarray(labels)).max() / len(labels))


def selection_value(metric: str, valid: Mapping[str, float]) -> float:
    """The number by which epochs are compared, higher is better.

    metric: accuracy, macro_f1, uar or loss. valid: keys accuracy, macro_f1, uar and loss (whichever is asked for).
    """
    return -valid["loss"] if metric == "loss" else valid[metric]


def paired_difference(
    labels: np.ndarray,
    probabilities: np.ndarray,
    reference: np.ndarray,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict:
    """Accuracy of `probabilities` minus accuracy of `reference` on the same clips: difference, low, high (95 % bootstrap).

    Paired: both are resampled together, so what makes a clip hard for both cancels out.
    """
    labels, probabilities = _checked(labels, probabilities)
    _, reference = _checked(labels, reference)
    gain = (probabilities.argmax(axis=1) == labels).astype(float) - (reference.argmax(axis=1) == labels)
    low, high = bootstrap_interval(gain, _clusters(speakers, len(labels)), seed, resamples)
    return {"difference": float(gain.mean()), "low": low, "high": high}


def bootstrap_interval(
    values: np.ndarray, clusters: Sequence[str] | None = None, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of values (N,) (Efron & Tibshirani 1993, chapter 13).

    With clusters (N names, e.g. speakers) whole clusters are drawn, because clips of one speaker aren't independent.
    The same values, in any order, and the same seed give the same interval.
    """
    values = np.asarray(values, dtype=float)
    if clusters is None:
        sizes, sums = np.ones(len(values)), values
    else:
        _, of_value = np.unique(np.asarray(clusters), return_inverse=True)
        sizes, sums = np.bincount(of_value).astype(float), np.bincount(of_value, weights=values)
    # Drawing G of G clusters is one multinomial draw over the distinct (size, sum) pairs: exact, and a table of two or
    # three columns instead of N where the values are right or wrong.
    kinds, counts = np.unique(np.column_stack([sizes, sums]), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(sizes), counts / counts.sum(), size=resamples)
    means = (draws @ kinds[:, 1]) / (draws @ kinds[:, 0])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def describe(result: Mapping[str, float]) -> str:
    """`scores` as one line: accuracy never stands alone."""
    return (
        f"accuracy {result['accuracy']:.3f} [{result['accuracy_low']:.3f}, {result['accuracy_high']:.3f}] "
        f"(95 % interval by {result['interval_by']}, n {result['n']}, majority {result['majority']:.3f}, "
        f"macro-F1 {result['macro_f1']:.3f}, UAR {result['uar']:.3f}, log loss {result['log_loss']:.3f})"
    )


def _clusters(speakers: Sequence[str] | None, count: int) -> np.ndarray | None:
    """Speakers to resample by; None where unknown, or where there is only one (its interval would have no width)."""
    if speakers is None:
        return None
    if len(speakers) != count:
        raise UserError(f"{len(speakers)} speakers were given for {count} clips; give one per clip, or none.")
    names = np.asarray(speakers, dtype=str)
    return names if len(np.unique(names)) > 1 else None


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if len(labels) == 0:
        raise UserError("there is no labelled clip to score.")
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise UserError(f"{len(labels)} labels don't fit probabilities of shape {probabilities.shape}; one row per clip is needed.")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise UserError(
            f"labels run from {labels.min()} to {labels.max()}, but the probabilities have {probabilities.shape[1]} columns: "
            "was the model made for another label set?"
        )
    return labels, probabilities
