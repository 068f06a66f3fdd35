"""Labels that are probably wrong, by confident learning on out-of-fold probabilities.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (arXiv 1911.00068). What it finds are clips
that the model is sure of and the label contradicts: errors of the label, of the actor, or of the model. Only listening tells which.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def likely_label_errors(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """One row per suspected clip: row, given, suggested (label numbers), p_given, p_suggested; the least credible label first.

    labels (N,): integers in [0, C). probabilities (N, C): out of fold, because a model believes the labels that it was trained on.
    A clip counts as of a label when its probability reaches the mean that the label's own clips have (so that an unsure or lopsided
    model doesn't hide its errors); of several such labels the likeliest is suggested. A clip whose own label is the model's answer is none.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=float)
    rows = np.arange(len(labels))
    every = range(probabilities.shape[1])
    usual = np.array([probabilities[labels == label, label].mean() if (labels == label).any() else np.inf for label in every])
    reached = np.where(probabilities >= usual, probabilities, -1.0)
    suggested = reached.argmax(axis=1)
    suspected = rows[(reached.max(axis=1) >= 0) & (suggested != labels) & (probabilities.argmax(axis=1) != labels)]
    table = pd.DataFrame(
        {
            "row": suspected,
            "given": labels[suspected],
            "suggested": suggested[suspected],
            "p_given": probabilities[suspected, labels[suspected]],
            "p_suggested": probabilities[suspected, suggested[suspected]],
        }
    )
    return table.sort_values("p_given", kind="stable", ignore_index=True)
