"""scikit-learn's classifiers behind one form: fitted to features and labels, they give a score per label."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from ser.config import ClassicalConfig
from ser.runtime.errors import UserError
from ser.scoring.metrics import log_loss

MOST_CLIPS_IN_A_KERNEL = 20_000


def fit_classifier(config: ClassicalConfig, features: np.ndarray, labels: np.ndarray, label_count: int, blocks: int) -> BaseEstimator:
    """features: (n, D), of `blocks` blocks whose mean square is 1 each. labels: (n,) integers below label_count."""
    gamma = 0.25 / blocks
    if config.classifier == "kernel_ridge":
        from sklearn.kernel_ridge import KernelRidge

        if len(features) > MOST_CLIPS_IN_A_KERNEL:
            raise UserError(
                f"model.classical.classifier kernel_ridge holds a matrix of clips by clips, too large for {len(features)} clips "
                f"(at most {MOST_CLIPS_IN_A_KERNEL}). Choose svm or logistic."
            )
        return KernelRidge(kernel="rbf", gamma=gamma, alpha=config.alpha).fit(features, np.eye(label_count)[labels] - 1 / label_count)
    if config.classifier == "svm_rbf":
        from sklearn.svm import SVC

        return SVC(kernel="rbf", gamma=gamma, C=config.c, decision_function_shape="ovr").fit(features, labels)
    if config.classifier == "svm":
        from sklearn.svm import LinearSVC

        return LinearSVC(C=config.c, random_state=0, max_iter=20_000).fit(features, labels)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=config.c, max_iter=2_000).fit(features, labels)


def classifier_scores(classifier: BaseEstimator, features: np.ndarray, label_count: int) -> np.ndarray:
    """(n, label_count): the higher the likelier; a label that the training part lacked gets the lowest score of the clip."""
    if not hasattr(classifier, "classes_"):
        return classifier.predict(features)
    values = classifier.decision_function(features)
    if values.ndim == 1:  # two labels: one score, positive for the second
        values = np.column_stack([-values, values]) / 2
    scores = np.repeat(values.min(axis=1, keepdims=True), label_count, axis=1)
    scores[:, classifier.classes_] = values
    return scores


def softmax(scores: np.ndarray, sharpness: float) -> np.ndarray:
    """Probabilities (n, C) from scores; sharpness is the inverse of a temperature (Guo et al. 2017, arXiv 1706.04599)."""
    from scipy.special import softmax as scipy_softmax

    return scipy_softmax(sharpness * scores, axis=1)


def fit_sharpness(scores: np.ndarray, labels: np.ndarray) -> float:
    """The sharpness of the softmax with the least log loss on scores (n, C) of clips that the classifier wasn't fitted to."""
    from scipy.optimize import minimize_scalar

    best = minimize_scalar(lambda power: log_loss(labels, softmax(scores, np.exp(power))), bounds=(-4, 6), method="bounded")
    return float(np.exp(best.x))
