"""n-grams of letters, emotion words, ridge (for several labels logistic) regression: the text baseline, without download or GPU.

The model's folder holds `ser_model.json` (settings), `vocabulary.json` (the n-grams of each view), `emotion_words.json` and
`weights.safetensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedKFold

from ser.config import ModelConfig, TextNgramsConfig, as_plain
from ser.data.inputs import Store
from ser.models.base import CARD, FittedModel, card_of
from ser.models.classical.classifiers import fit_sharpness, softmax
from ser.models.text.emotion_words import EmotionWords, read_emotion_words
from ser.models.text.ngram_views import NgramViews
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, read_json, write_json

WEIGHTS = "weights.safetensors"
WORDS = "emotion_words.json"
INNER_FOLDS = 3
ALPHA_TO_C = 4.0
"""Where labels may be several, the logistic regressions' C is this by `alpha`: as smooth as serves thousands of comments (docs/text.md)."""
NEVER = -10.0
"""Score of a label that the training part lacks; those of the others lie around -1 and 1."""


class TextNgrams(FittedModel):
    """Texts to probabilities. `fit` once; afterwards it only reads."""

    kind, takes = "text_ngrams", "text"

    def __init__(self, config: TextNgramsConfig, label_names: Sequence[str], max_seconds: float):
        self.config, self.label_names, self.max_seconds = config, tuple(label_names), float(max_seconds)
        self.views = NgramViews(config.least_texts)
        self.words = EmotionWords(read_emotion_words(), config.word_weight)
        self.weights = np.zeros((0, len(self.label_names)))
        self.bias = np.zeros(len(self.label_names))
        self.sharpness = 1.0

    def fit(
        self, store: Store, rows: np.ndarray, labels: np.ndarray, seed: int, after_file: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """See `FittedModel.fit`. Labels count alike, however rare (balanced class weights); where a clip may have several, each is asked
        for by itself, and its probability is as rare as the label: thresholds even that out.
        """
        texts = [store.texts[row] for row in rows]
        if self.multi_label:
            return self._fit_each(texts, labels, after_file)
        self.sharpness = self._choose_sharpness(texts, labels, seed, after_file)
        self._fit(texts, labels)
        return self._probabilities(texts)

    def predict(
        self, store: Store, rows: np.ndarray, title: str | None = None, after_file: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """See `FittedModel.predict`."""
        return self._probabilities([store.texts[row] for row in rows])

    @property
    def parameter_count(self) -> int:
        """Numbers that the classifier learnt."""
        return self.weights.size + self.bias.size

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, all of it or nothing."""
        from safetensors.numpy import save_file

        with atomic_folder(folder) as temporary:
            card = card_of(self) | {
                "settings": as_plain(self.config),
                "sharpness": self.sharpness,
            }
            write_json(temporary / CARD, card)
            write_json(temporary / WORDS, self.words.words)  # with the model, so that another list changes no old answer
            words = {"words.mean": self.words.mean, "words.deviation": self.words.deviation}
            save_file({**self.views.write(temporary), **words, "weights": self.weights, "bias": self.bias}, temporary / WEIGHTS)

    def _features_to_learn(self, texts: Sequence[str]) -> sparse.csr_matrix:
        return sparse.hstack([self.views.fit_transform(texts), self.words.fit_transform(texts)], format="csr")

    def _fit_each(self, texts: Sequence[str], labels: np.ndarray, after_file: Callable[[], None]) -> np.ndarray:
        """A logistic regression for each label against all others. One that no text has, or every text, keeps the share it has.

        Returns the texts' probabilities.
        """
        features = self._features_to_learn(texts)
        shares = (labels.sum(axis=0) + 0.5) / (len(labels) + 1)
        self.weights, self.bias = np.zeros((features.shape[1], labels.shape[1])), np.log(shares / (1 - shares))
        for label in np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0)):
            after_file()
            found = LogisticRegression(C=ALPHA_TO_C / self.config.alpha, max_iter=1000, tol=1e-3).fit(features, labels[:, label])
            self.weights[:, label], self.bias[label] = found.coef_[0], found.intercept_[0]
        return expit(features @ self.weights + self.bias)

    def _fit(self, texts: Sequence[str], labels: np.ndarray) -> None:
        features = self._features_to_learn(texts)
        classifier = RidgeClassifier(alpha=self.config.alpha, class_weight="balanced", solver="sparse_cg").fit(features, labels)
        weights, bias = np.atleast_2d(classifier.coef_), np.atleast_1d(classifier.intercept_)
        if len(classifier.classes_) == 2:  # one score, positive for the second
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        self.weights = np.zeros((features.shape[1], len(self.label_names)))
        self.bias = np.full(len(self.label_names), NEVER)
        self.weights[:, classifier.classes_], self.bias[classifier.classes_] = weights.T, bias

    def _scores(self, texts: Sequence[str]) -> np.ndarray:
        return sparse.hstack([self.views.transform(texts), self.words.transform(texts)], format="csr") @ self.weights + self.bias

    def _probabilities(self, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, len(self.label_names)))
        scores = self._scores(texts)
        return expit(scores) if self.multi_label else softmax(scores, self.sharpness)

    def _choose_sharpness(self, texts: list[str], labels: np.ndarray, seed: int, after_file: Callable[[], None]) -> float:
        """By cross-validation within the training part, so that it isn't too sure."""
        if min(np.bincount(labels)[np.unique(labels)]) < INNER_FOLDS:
            return 1.0
        scores = np.zeros((len(labels), len(self.label_names)))
        for train, held_out in StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=seed).split(labels, labels):
            after_file()
            self._fit([texts[row] for row in train], labels[train])
            scores[held_out] = self._scores([texts[row] for row in held_out])
        return fit_sharpness(scores, labels)


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> TextNgrams:
    """A model to fit."""
    return TextNgrams(config.text_ngrams, label_names, max_seconds)


def load(folder: Path, card: dict) -> TextNgrams:
    """Open a model written by `TextNgrams.save`. Raises UserError when files are missing or damaged."""
    from safetensors.numpy import load_file

    try:
        model = TextNgrams(TextNgramsConfig(**card["settings"]), card["label_names"], card["max_seconds"])
        model.sharpness = float(card["sharpness"])
        tensors = load_file(folder / WEIGHTS)
        model.views.read(folder, tensors)
        model.words = EmotionWords(read_json(folder / WORDS), model.config.word_weight)
        model.words.mean, model.words.deviation = tensors["words.mean"], tensors["words.deviation"]
        model.weights, model.bias = tensors["weights"], tensors["bias"]
        model._probabilities(["가"])
    except Exception as error:  # a damaged file fails in many ways; nothing but data is read
        raise UserError(f"{folder}: not a whole model ({type(error).__name__}: {error}). Copy the folder again.") from None
    return model
