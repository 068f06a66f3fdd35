"""Do training and test clips come from one source? A classifier that tries to tell them apart says so (adversarial validation).

An area under the ROC curve of 0.5 is a coin's; the nearer to 1, the less a score from cross-validation says about the test clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

FOLDS = 5
TREES = 200


@dataclass(frozen=True)
class Drift:
    """auc with its 95 % interval; telling: the features by how far each alone tells the parts apart (its own AUC, 0.5 or more)."""

    auc: float
    low: float
    high: float
    telling: pd.Series


def drift(train: np.ndarray, test: np.ndarray, names: Sequence[str], seed: int = 0) -> Drift:
    """How well trees tell training clips (N, D) from test clips (M, D), each judged by trees that haven't seen it.

    names: of the D features. Trees, because they see differences of spread as well as of level, in any unit.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    features = np.nan_to_num(np.vstack([train, test]).astype(float))
    is_test = np.repeat([0, 1], [len(train), len(test)])
    trees = ExtraTreesClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    auc = float(roc_auc_score(is_test, cross_val_predict(trees, features, is_test, cv=folds, method="predict_proba")[:, 1]))
    alone = _auc_of_each(features, is_test == 1)
    telling = pd.Series(np.maximum(alone, 1 - alone), index=list(names)).sort_values(ascending=False, kind="stable")
    reach = 1.96 * _standard_error(auc, len(test), len(train))
    return Drift(auc, max(0.0, auc - reach), min(1.0, auc + reach), telling)


def _auc_of_each(features: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(D,) area under the curve of each feature (N, D) by itself, from ranks (Mann & Whitney 1947); positive (N,) bool."""
    from scipy.stats import rankdata

    many, others = positive.sum(), (~positive).sum()
    return (rankdata(features, axis=0)[positive].sum(axis=0) - many * (many + 1) / 2) / (many * others)


def _standard_error(auc: float, positives: int, negatives: int) -> float:
    """Hanley & McNeil 1982, doi 10.1148/radiology.143.1.7063747."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    return float(np.sqrt(max(variance, 0.0) / (positives * negatives)))


def largest_moves(
    answers: np.ndarray, n_labels: int, size: int, speakers: Sequence[str | None] | None = None, draws: int = 500, seed: int = 0
) -> np.ndarray:
    """(draws,) by how much the share of some label differs at most between two samples of the same recordings, from 0 to 1.

    answers: (N,) labels given. One sample has N clips, the other `size`; both are drawn anew, whole speakers where they are known.
    """
    rng = np.random.default_rng(seed)
    _, of_speaker = np.unique([str(name) for name in speakers] if speakers else np.arange(len(answers)), return_inverse=True)
    counts = np.zeros((of_speaker.max() + 1, n_labels))
    np.add.at(counts, (of_speaker, answers), 1)

    def shares(clips: int) -> np.ndarray:
        drawn = rng.multinomial(max(1, round(clips * len(counts) / len(answers))), np.full(len(counts), 1 / len(counts)), draws) @ counts
        return drawn / drawn.sum(axis=1, keepdims=True)

    return np.abs(shares(len(answers)) - shares(size)).max(axis=1)
