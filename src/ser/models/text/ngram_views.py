"""n-grams of a text seen in three ways, weighed by how rare they are (TF-IDF).

n-grams within words, n-grams across words, and n-grams of the letters' parts (jamo), which see the stem of a Korean word under its endings.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from ser.runtime.errors import UserError
from ser.runtime.files import write_json

VIEWS: dict[str, dict] = {
    "in_words": {"analyzer": "char_wb", "ngram_range": (1, 2)},
    "across_words": {"analyzer": "char", "ngram_range": (1, 3)},
    "jamo": {"analyzer": "char_wb", "ngram_range": (2, 5), "preprocessor": partial(unicodedata.normalize, "NFD")},
}
VOCABULARY = "vocabulary.json"


class NgramViews:
    """Texts to (n, n-grams), every view weighing the same; what an n-gram is, is learnt from the training texts."""

    def __init__(self, least_texts: int):
        """least_texts: n-grams in fewer training texts are left out."""
        self.least_texts = least_texts
        self.vectorizers: dict[str, TfidfVectorizer] = {}

    def fit_transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Learn the n-grams of these texts, and see the texts through them. Raises UserError where none is left."""
        self.vectorizers = {view: self._vectorizer(view) for view in VIEWS}
        try:
            return _joined([each.fit_transform(texts) for each in self.vectorizers.values()])
        except ValueError as error:
            raise UserError(
                f"no n-gram is in {self.least_texts} of {len(texts)} texts ({error}): they are too few to learn from."
            ) from None

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(n, n-grams), each row of length one where it knows the n-grams of every view."""
        return _joined([each.transform(texts) for each in self.vectorizers.values()])

    def vocabulary(self) -> dict[str, list[str]]:
        """The n-grams of each view, in the order of their columns."""
        return {view: each.get_feature_names_out().tolist() for view, each in self.vectorizers.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """How rare each n-gram of each view is, as it weighs."""
        return {f"idf.{view}": each.idf_ for view, each in self.vectorizers.items()}

    def take_in(self, vocabulary: Mapping[str, Sequence[str]], arrays: Mapping[str, np.ndarray]) -> None:
        """Become the views that had this vocabulary and these arrays. Damaged ones raise one of many exceptions."""
        for view in VIEWS:
            self.vectorizers[view] = self._vectorizer(view, vocabulary[view])
            self.vectorizers[view].idf_ = arrays[f"idf.{view}"]

    def write(self, folder: Path) -> dict[str, np.ndarray]:
        """Write the vocabulary to a folder; returns the arrays to keep beside it."""
        write_json(folder / VOCABULARY, self.vocabulary())
        return self.arrays()

    def read(self, folder: Path, arrays: Mapping[str, np.ndarray]) -> NgramViews:
        """Take in what `write` wrote; returns itself. A damaged file raises one of many exceptions."""
        self.take_in(json.loads((folder / VOCABULARY).read_text(encoding="utf-8")), arrays)
        return self

    def _vectorizer(self, view: str, vocabulary: Sequence[str] | None = None) -> TfidfVectorizer:
        return TfidfVectorizer(**VIEWS[view], min_df=self.least_texts, sublinear_tf=True, vocabulary=vocabulary)


def _joined(views: list[sparse.csr_matrix]) -> sparse.csr_matrix:
    return sparse.hstack(views, format="csr") / np.sqrt(len(views))
