"""Korean words and signs that speak of an emotion, counted in a text: what a model can't learn from a thousand comments.

The list (`emotion_words.csv` beside it, written by hand, stems without endings) knows six emotions; it may have others than the labels.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

LIST = Path(__file__).with_name("emotion_words.csv")


def read_emotion_words() -> dict[str, list[str]]:
    """The list: emotion -> words."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return {row["emotion"]: row["words"].split() for row in csv.DictReader(file)}


class EmotionWords:
    """Texts to the share that each emotion has of their emotion words, standardised on the training texts."""

    def __init__(self, words: dict[str, list[str]], weight: float):
        """weight: length of one standard deviation, beside n-grams of length one a text."""
        self.words, self.weight = words, weight
        self.mean, self.deviation = np.zeros(len(words)), np.ones(len(words))

    def fit_transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(n, emotions) of the training texts, whose mean and deviation are kept."""
        shares = self._shares(texts)
        self.mean, self.deviation = shares.mean(0), shares.std(0)
        self.deviation[self.deviation == 0] = 1.0  # an emotion without a word anywhere, as in English texts, says nothing
        return self._scaled(shares)

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(n, emotions), scaled as the training texts were."""
        return self._scaled(self._shares(texts))

    def _scaled(self, shares: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.weight * (shares - self.mean) / self.deviation)

    def _shares(self, texts: Sequence[str]) -> np.ndarray:
        """How many of an emotion's words are in the text, by one more than those of all emotions; blanks don't count."""
        closed = ["".join(unicodedata.normalize("NFC", text).split()) for text in texts]
        found = np.array([[sum(word in text for word in words) for words in self.words.values()] for text in closed], dtype=float)
        found = found.reshape(len(texts), len(self.words))
        return found / (1 + found.sum(1, keepdims=True))
