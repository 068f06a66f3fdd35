"""Scores where a clip may have several labels, or none: F1 over all labels together (micro) and their mean (macro), AUC, whole sets.

As for one label a clip, nothing goes alone: the number of clips, what one and the same answer for every clip would reach, and a 95 %
interval, by speaker where speakers are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser.runtime.errors import UserError
from ser.scoring.intervals import (
    LEVEL,
    describe_interval,
    score_interval,
    share_interval,
    tallies_by_speaker,
    told_interval,
    usable_speakers,
)
from ser.scoring.thresholds import cross_fitted


def multi_label_scores(
    labels: np.ndarray, probabilities: np.ndarray, speakers: Sequence[str] | None = None, given: np.ndarray | None = None
) -> dict:
    """All scores of one set of predictions. labels: (N, C) of 0 and 1. probabilities: (N, C). speakers: N names, None where unknown.

    given: (N, C) bool, the labels given to each clip; by default by thresholds fitted to the other half of the clips (`given_in_halves`).
    Returns n, labels_a_clip, without_label, given_a_clip (in the mean), then for micro_f1, macro_f1, auc (mean over the labels that two
    clips or more have, and two haven't) and accuracy (clips of which every label is right) the value, `_low`, `_high` (95 % interval) and
    `_baseline`: the most that one answer for all clips can reach; uar (mean recall), log_loss (mean over labels), and how the interval was
    made. The interval of the AUC is of the second order (DeLong et al. 1988), summed up by speaker where they are known.
    """
    labels, probabilities = _checked(labels, probabilities)
    given = given_in_halves(labels, probabilities) if given is None else given
    grouped = usable_speakers(speakers, len(labels))
    tallies, clips = tallies_by_speaker(_tallies(labels, given), grouped)
    whole_set = (given == labels.astype(bool)).all(axis=1)
    area, reach = _auc_and_reach(labels, probabilities, grouped)
    intervals = {
        "micro_f1": score_interval(_micro_f1, tallies, clips),
        "macro_f1": score_interval(_macro_f1, tallies, clips),
        "auc": (max(0.0, area - reach), min(1.0, area + reach)),
        "accuracy": share_interval(whole_set.astype(float), grouped),
    }
    values, baselines = quick_multi_label_scores(labels, probabilities, given), _baselines(labels)
    result = {
        "n": len(labels),
        "labels": labels.shape[1],
        "labels_a_clip": float(labels.sum(axis=1).mean()),
        "without_label": int((labels.sum(axis=1) == 0).sum()),
        "given_a_clip": float(given.sum(axis=1).mean()),
    }
    for name, (low, high) in intervals.items():
        result |= {name: values[name], f"{name}_low": low, f"{name}_high": high, f"{name}_baseline": baselines[name]}
    return result | {"uar": values["uar"], "log_loss": values["log_loss"]} | told_interval(speakers)


def quick_multi_label_scores(labels: np.ndarray, probabilities: np.ndarray, given: np.ndarray | None = None) -> dict:
    """micro_f1, macro_f1, auc, accuracy, uar and log_loss without intervals, as needed after every epoch. Arguments as above."""
    labels, probabilities = _checked(labels, probabilities)
    given = given_in_halves(labels, probabilities) if given is None else given
    tallies = _tallies(labels, given).sum(axis=0)
    has = tallies[:, 0] + tallies[:, 2] > 0
    likely = np.clip(np.where(labels > 0, probabilities, 1 - probabilities), np.finfo(float).eps, 1)
    return {
        "accuracy": float((given == labels.astype(bool)).all(axis=1).mean()),
        "micro_f1": float(_micro_f1(tallies[None])[0]),
        "macro_f1": float(_macro_f1(tallies[None])[0]),
        "auc": _auc_and_reach(labels, probabilities, None)[0],
        "uar": float((tallies[has, 0] / (tallies[has, 0] + tallies[has, 2])).mean()) if has.any() else 0.0,
        "log_loss": float(-np.log(likely).mean()),
    }


def per_label(labels: np.ndarray, probabilities: np.ndarray, label_names: Sequence[str], given: np.ndarray | None = None) -> pd.DataFrame:
    """One row per label: label, n (clips that have it), given (clips given it), precision, recall, f1, auc (NaN where undefined)."""
    given = given_in_halves(labels, probabilities) if given is None else given
    tallies = _tallies(labels, given).sum(axis=0)
    hits, wrong, missed = tallies.T
    table = {
        "label": list(label_names),
        "n": (hits + missed).astype(int),
        "given": (hits + wrong).astype(int),
        "precision": hits / np.maximum(hits + wrong, 1),
        "recall": hits / np.maximum(hits + missed, 1),
        "f1": 2 * hits / np.maximum(2 * hits + wrong + missed, 1),
        "auc": _areas(labels, probabilities)[0],
    }
    return pd.DataFrame(table)


def as_records(classes: pd.DataFrame) -> list[dict]:
    """The table of `per_label` row by row for JSON, which has no NaN."""
    return [{key: None if value != value else value for key, value in row.items()} for row in classes.to_dict("records")]


def describe_multi_label(result: Mapping[str, float]) -> str:
    """`multi_label_scores` as one line: no score stands alone."""
    told = [
        f"{title} {result[name]:.3f} [{result[f'{name}_low']:.3f}, {result[f'{name}_high']:.3f}] (one answer for all "
        f"{result[f'{name}_baseline']:.3f})"
        for name, title in (("micro_f1", "micro-F1"), ("macro_f1", "macro-F1"), ("auc", "AUC"), ("accuracy", "whole sets right"))
    ]
    return (
        f"{', '.join(told)}; {describe_interval(result)}, n {result['n']}, {result['labels']} labels, {result['labels_a_clip']:.2f} a clip "
        f"({result['given_a_clip']:.2f} given), {result['without_label']} clips without one, log loss {result['log_loss']:.3f}"
    )


def given_in_halves(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N, C) bool: each half of the clips (every other one) judged by thresholds fitted to the other half, where there are no folds."""
    return cross_fitted(labels, probabilities, np.arange(len(labels)) % 2)


def _tallies(labels: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N, C, 3) of 0 and 1: given rightly, given wrongly, missed."""
    truth = labels.astype(bool)
    return np.stack([given & truth, given & ~truth, ~given & truth], axis=-1).astype(float)


def _micro_f1(tallies: np.ndarray) -> np.ndarray:
    """(..., C, 3) counts -> (...)."""
    hits, wrong, missed = np.moveaxis(tallies.sum(axis=-2), -1, 0)
    return 2 * hits / np.maximum(2 * hits + wrong + missed, 1)


def _macro_f1(tallies: np.ndarray) -> np.ndarray:
    """(..., C, 3) counts -> (...), over the labels that some clip has or was given."""
    hits, wrong, missed = np.moveaxis(tallies, -1, 0)
    occurs = hits + wrong + missed > 0
    return (2 * hits / np.maximum(2 * hits + wrong + missed, 1)).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)


def _areas(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The AUC of each label (C,), NaN where all clips have it or none, and what each clip adds to its error (N, C), NaN where
    fewer than two clips have the label, or haven't: nothing is known of the error then."""
    from scipy.stats import rankdata

    truth = labels.astype(bool)
    areas, parts = np.full(truth.shape[1], np.nan), np.full(truth.shape, np.nan)
    for label in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        has, values = truth[:, label], probabilities[:, label]
        ranks = rankdata(values)
        # Of each clip the share of the other kind that it is on the right side of.
        above = (ranks[has] - rankdata(values[has])) / (~has).sum()
        below = 1 - (ranks[~has] - rankdata(values[~has])) / has.sum()
        areas[label] = above.mean()
        if min(len(above), len(below)) < 2:
            continue
        parts[has, label] = (above - areas[label]) / has.sum()
        parts[~has, label] = (below - areas[label]) / (~has).sum()
    return areas, parts


def _auc_and_reach(labels: np.ndarray, probabilities: np.ndarray, speakers: np.ndarray | None) -> tuple[float, float]:
    """The mean AUC, and half the width of its interval; 0.5 and 0.5 where no label has one."""
    from scipy.stats import norm

    areas, parts = _areas(labels, probabilities)
    defined = ~np.isnan(parts).any(axis=0)
    if not defined.any():
        return 0.5, 0.5
    sums, _ = tallies_by_speaker(parts[:, defined].mean(axis=1), speakers)
    return float(areas[defined].mean()), float(norm.ppf((1 + LEVEL) / 2) * np.sqrt((sums**2).sum()))


def _baselines(labels: np.ndarray) -> dict[str, float]:
    """For each score by itself the most that one and the same set of labels for every clip reaches."""
    counts = labels.sum(axis=0)
    commonest = np.sort(counts)[::-1]
    answered = len(labels) * np.arange(1, len(counts) + 1)
    occurring = counts[counts > 0] / len(labels)
    return {
        "micro_f1": float((2 * np.cumsum(commonest) / (answered + counts.sum())).max()),
        "macro_f1": float((2 * occurring / (1 + occurring)).mean()) if len(occurring) else 0.0,  # every label, for every clip
        "auc": 0.5,
        "accuracy": float(np.unique(labels, axis=0, return_counts=True)[1].max() / len(labels)),
    }


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if not len(labels):
        raise UserError("there is no labelled clip to score.")
    if labels.shape != probabilities.shape:
        raise UserError(f"labels of shape {labels.shape} don't fit probabilities of shape {probabilities.shape}; a row per clip is needed.")
    return labels, probabilities
