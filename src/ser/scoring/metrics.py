"""Scores of predicted probabilities, and the paired difference of two models, the same everywhere: scikit-learn's.

No accuracy goes without its company: the number of clips, what always answering the commonest label would reach
(majority), macro-F1, UAR (unweighted average recall) and a 95 % interval, by speaker where speakers are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser.runtime.errors import UserError
from ser.scoring.intervals import describe_interval, difference_interval, share_interval, told_interval, usable_speakers
from ser.scoring.multi_label import describe_multi_label, multi_label_scores, per_label, quick_multi_label_scores


def scores(labels: np.ndarray, probabilities: np.ndarray, speakers: Sequence[str] | None = None) -> dict:
    """All scores of one set of predictions.

    labels: (N,) integers in [0, C), or (N, C) of 0 and 1 (see `multi_label_scores`). probabilities: (N, C). speakers: N names, None where
    unknown. Returns n, accuracy, accuracy_low, accuracy_high (95 % interval), interval_by ("speaker" or "clip"), speakers (how many),
    majority, macro_f1, uar, log_loss. Raises UserError when there is nothing to score or the shapes don't fit.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return multi_label_scores(labels, probabilities, speakers)
    result = quick_scores(labels, probabilities)
    correct = np.asarray(probabilities).argmax(axis=1) == labels
    low, high = share_interval(correct, usable_speakers(speakers, len(labels)))
    return {
        "n": len(labels),
        "accuracy": result["accuracy"],
        "accuracy_low": low,
        "accuracy_high": high,
        **told_interval(speakers),
        "majority": majority_baseline(labels),
        "macro_f1": result["macro_f1"],
        "uar": result["uar"],
        "log_loss": result["log_loss"],
    }


def quick_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """accuracy, macro_f1, uar and log_loss without the interval, as needed after every epoch. Arguments as in `scores`.

    macro_f1 is the mean over the labels that occur, be it as truth or as answer; uar over those that occur as truth.
    """
    from sklearn.metrics import precision_recall_fscore_support

    if np.ndim(labels) == 2:
        return quick_multi_label_scores(labels, probabilities)
    labels, probabilities = _checked(labels, probabilities)
    answers = probabilities.argmax(axis=1)
    _, recall, f1, clips = precision_recall_fscore_support(labels, answers, zero_division=0)
    return {
        "accuracy": float((answers == labels).mean()),
        "macro_f1": float(f1.mean()),
        "uar": float(recall[clips > 0].mean()),
        "log_loss": log_loss(labels, probabilities),
    }


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean of `log_losses`."""
    return float(log_losses(labels, probabilities).mean())


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N,) negative log probability of each true label, in nats; a probability of 0 counts as the smallest float step."""
    of_truth = np.asarray(probabilities, dtype=float)[np.arange(len(labels)), labels]
    return -np.log(np.clip(of_truth, np.finfo(float).eps, 1))


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts (C, C): row is the true label, column the predicted one."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, probabilities.argmax(axis=1), labels=np.arange(probabilities.shape[1]))


def per_class(labels: np.ndarray, probabilities: np.ndarray, label_names: Sequence[str]) -> pd.DataFrame:
    """One row per label: label, n (true clips), predicted (clips given it), precision, recall, f1 (0 where undefined)."""
    from sklearn.metrics import precision_recall_fscore_support

    if np.ndim(labels) == 2:
        return per_label(labels, probabilities, label_names)
    labels, probabilities = _checked(labels, probabilities)
    answers, every = probabilities.argmax(axis=1), np.arange(len(label_names))
    precision, recall, f1, n = precision_recall_fscore_support(labels, answers, labels=every, zero_division=0)
    predicted = np.bincount(answers, minlength=len(every))
    return pd.DataFrame({"label": list(label_names), "n": n, "predicted": predicted, "precision": precision, "recall": recall, "f1": f1})


def majority_baseline(labels: np.ndarray) -> float:
    """Accuracy of always answering the commonest label."""
    return float(np.bincount(np.asarray(labels)).max() / len(labels))


def selection_value(metric: str, valid: Mapping[str, float]) -> float:
    """The number by which epochs are compared, higher is better.

    metric: accuracy, macro_f1, uar or loss. valid: keys accuracy, macro_f1, uar and loss (whichever is asked for).
    """
    return -valid["loss"] if metric == "loss" else valid[metric]


def paired_difference(labels: np.ndarray, probabilities: np.ndarray, reference: np.ndarray, speakers: Sequence[str] | None = None) -> dict:
    """Accuracy of `probabilities` minus accuracy of `reference` on the same clips.

    Returns difference, low, high (95 % interval) and how the interval was made (`told_interval`). Paired
    clip by clip, so that what makes a clip hard for both cancels out.
    """
    labels, probabilities = _checked(labels, probabilities)
    _, reference = _checked(labels, reference)
    gains = (probabilities.argmax(axis=1) == labels).astype(float) - (reference.argmax(axis=1) == labels)
    low, high = difference_interval(gains, usable_speakers(speakers, len(labels)))
    return {"difference": float(gains.mean()), "low": low, "high": high, **told_interval(speakers)}


def describe(result: Mapping[str, float]) -> str:
    """`scores` as one line: accuracy never stands alone."""
    if "micro_f1" in result:
        return describe_multi_label(result)
    return (
        f"accuracy {result['accuracy']:.3f} [{result['accuracy_low']:.3f}, {result['accuracy_high']:.3f}] "
        f"({describe_interval(result)}, n {result['n']}, majority {result['majority']:.3f}, "
        f"macro-F1 {result['macro_f1']:.3f}, UAR {result['uar']:.3f}, log loss {result['log_loss']:.3f})"
    )


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
