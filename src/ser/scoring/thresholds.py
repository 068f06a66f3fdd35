"""Where several labels may apply to a clip: from which probability on each label is given.

Thresholds are fitted to predictions that their model hasn't trained on, and what they reach is told of clips that they weren't fitted to
(`cross_fitted`). A run keeps those of all its out-of-fold predictions in thresholds.json, and prediction uses them.
"""

from __future__ import annotations

import numpy as np

FILE = "thresholds.json"
UNFITTED = 0.5


def fit_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(C,) for each label the threshold from which on it is given to as many of these clips as have it (precision equals recall then).

    labels (N, C) of 0 and 1, probabilities (N, C). Thresholds of the highest F1 bring no more macro-F1 on clips they weren't fitted to, and
    give half as many labels again as there are, as the F1 of a label that can't be told is highest where everybody gets it (Lipton et al.
    2014, arXiv 1402.1892); docs/text.md has the figures.
    """
    counts, every = labels.sum(axis=0), np.arange(labels.shape[1])
    ordered = np.vstack([np.ones(len(every)), -np.sort(-probabilities, axis=0), np.zeros(len(every))])
    last, next_one = ordered[counts, every], ordered[counts + 1, every]
    # Where the next clip has the same probability, there is no such threshold: rather too few get the label than all who are alike.
    return np.where(last > next_one, (last + next_one) / 2, np.nextafter(last, np.inf))


def given_by(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(N, C) bool: the labels that are given to each clip; possibly none."""
    return probabilities >= thresholds


def cross_fitted(labels: np.ndarray, probabilities: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """(N, C) bool: the labels given, each part (N,) judged by thresholds that were fitted to the other parts alone."""
    given = np.zeros(labels.shape, bool)
    for part in np.unique(parts):
        own = parts == part
        thresholds = np.full(labels.shape[1], UNFITTED) if own.all() else fit_thresholds(labels[~own], probabilities[~own])
        given[own] = given_by(probabilities[own], thresholds)
    return given
