"""Ways to make one probability out of several: fixed means, and two that learn from out-of-fold predictions.

Each method is a function `fit(oof (R, n, C), labels (n,)) -> Fitted`; the fixed ones ignore what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser.runtime.errors import UserError

# Log probabilities are cut here, so that one model's certainty can't outvote all others or become minus infinity.
SMALLEST = 1e-6
# Strong regularisation: with a few hundred to some thousand clips, scikit-learn's default of 1 overfits (measured on 704).
STACKING_C = 0.03


@dataclass(frozen=True)
class Fitted:
    """A blend ready for use: predict maps (R, m, C) to (m, C); weights (R,) on the simplex, None where there are none."""

    predict: Callable[[np.ndarray], np.ndarray]
    weights: np.ndarray | None


def fit_mean(oof: np.ndarray, labels: np.ndarray) -> Fitted:
    """Arithmetic mean, all members alike."""
    return Fitted(lambda members: members.mean(axis=0), np.full(len(oof), 1 / len(oof)))


def fit_geometric_mean(oof: np.ndarray, labels: np.ndarray) -> Fitted:
    """Geometric mean, normalised; all members alike."""
    shares = np.full(len(oof), 1 / len(oof))
    return Fitted(lambda members: _pool(shares, members), shares)


def fit_weights(oof: np.ndarray, labels: np.ndarray) -> Fitted:
    """Weighted geometric mean (logarithmic opinion pool, Genest & Zidek 1986) with the least out-of-fold log loss.

    The exponents are at least 0; their sum sharpens or flattens the result, and divided by it they are the weights.
    Log loss and not accuracy, because it is convex in the exponents: the one optimum is found, and single clips at the
    border don't decide. (An arithmetic mean with weights by log loss picks the best calibrated member instead of the most
    useful ones: its nested accuracy was lower or the same on all six sets of members tried.)
    """
    from scipy.optimize import minimize

    logs, rows, count = _logs(oof), np.arange(len(labels)), len(oof)

    def loss_and_gradient(exponents: np.ndarray) -> tuple[float, np.ndarray]:
        blended = _pool(exponents, oof)
        gradient = ((logs * blended).sum(axis=2) - logs[:, rows, labels]).mean(axis=1)
        return -np.log(np.maximum(blended[rows, labels], np.finfo(float).tiny)).mean(), gradient

    # The upper bound only matters where members are never wrong and sharpening would go on for ever.
    found = minimize(loss_and_gradient, np.full(count, 1 / count), jac=True, method="L-BFGS-B", bounds=[(0, 20)] * count)
    # Members that know less than nothing all get 0, which would give every clip the first label.
    exponents = found.x if found.x.sum() > 1e-3 else np.full(count, 1 / count)
    return Fitted(lambda members: _pool(exponents, members), exponents / exponents.sum())


def fit_stacking(oof: np.ndarray, labels: np.ndarray) -> Fitted:
    """Logistic regression on the members' log probabilities (Wolpert 1992's stacked generalisation)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        raise UserError("stacking needs clips of at least two labels among those predicted out of fold. Use --method mean.")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STACKING_C, max_iter=2000)).fit(_features(oof), labels)

    def predict(members: np.ndarray) -> np.ndarray:
        # A label that isn't among the clips it was fitted on has no column of its own: it gets probability 0.
        probabilities = np.zeros(members.shape[1:])
        probabilities[:, model.classes_] = model.predict_proba(_features(members))
        return probabilities

    return Fitted(predict, None)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Fitted]] = {
    "mean": fit_mean,
    "gmean": fit_geometric_mean,
    "weighted": fit_weights,
    "stack": fit_stacking,
}
DEFAULT = "mean"
LEARNED = ("weighted", "stack")


def nested_predictions(method: str, oof: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(n, C): each group of clips blended by what the method learned from the other groups, so its score is honest."""
    result = np.empty(oof.shape[1:])
    for group in np.unique(groups):
        inside = groups == group
        result[inside] = METHODS[method](oof[:, ~inside], labels[~inside]).predict(oof[:, inside])
    return result


def nesting_groups(folds: np.ndarray, speakers: Sequence[str] | None) -> tuple[np.ndarray, str]:
    """Which clips are held out together in the nested estimate, and a sentence saying so.

    folds: (R, n), the fold of each clip in each run. By fold where all runs share one split, because predictions of one
    fold come from one model; else by speaker where known; else by the folds of the first run.
    """
    if (folds == folds[0]).all():
        groups, sentence = folds[0], "nested: fitted on the other folds for each fold"
    elif speakers is not None and len(set(speakers)) > 1:
        from sklearn.model_selection import GroupKFold

        groups = np.zeros(folds.shape[1], dtype=int)
        parts = min(5, len(set(speakers)))
        for number, (_, held_out) in enumerate(GroupKFold(parts).split(groups, groups=np.asarray(speakers))):
            groups[held_out] = number
        sentence = f"nested: fitted on the other speakers for each of {parts} groups of speakers, as the runs' folds differ"
    else:
        groups, sentence = folds[0], "nested: fitted on the other folds for each fold of the first run, as the runs' folds differ"
    if len(np.unique(groups)) < 2:
        raise UserError(
            "weights and stacking are judged by holding out folds, and only one fold is finished. Finish more, or use --method mean."
        )
    return groups, sentence


def _pool(exponents: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(m, C): the product of the members (R, m, C), each to the power of its exponent, normalised."""
    total = np.tensordot(exponents, _logs(members), axes=1)
    product = np.exp(total - total.max(axis=1, keepdims=True))
    return product / product.sum(axis=1, keepdims=True)


def _logs(members: np.ndarray) -> np.ndarray:
    return np.log(np.clip(members, SMALLEST, 1))


def _features(members: np.ndarray) -> np.ndarray:
    """(R, m, C) probabilities to (m, R * C) log probabilities."""
    return np.concatenate(list(_logs(members)), axis=1)
