"""A diary's emotions: each sentence classified, and the share of each emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.diary.sentences import split_sentences
from ser.inference.answers import labels_given
from ser.report.pictures import save_figure
from ser.runtime.errors import UserError
from ser.scoring.thresholds import given_by

DEFAULT_MODEL = "outputs/klue_roberta_text"
EMPTY_MESSAGE = "there is no sentence in this text, so there is nothing to analyse."


@dataclass(frozen=True)
class Diary:
    """n sentences of a text and their probabilities (n, labels); n may be 0.

    thresholds: (labels,) from which probability on a sentence has an emotion, where it may have several; None where it has one.
    """

    sentences: tuple[str, ...]
    label_names: tuple[str, ...]
    probabilities: np.ndarray
    thresholds: np.ndarray | None = None

    @property
    def labels(self) -> list[str]:
        """The emotion of each sentence; of several joy|sad, "" where it has none."""
        return labels_given(self.probabilities, self.label_names, self.thresholds)

    @property
    def found(self) -> np.ndarray:
        """(n, labels) bool: which emotions each sentence has."""
        if self.thresholds is not None:
            return given_by(self.probabilities, self.thresholds)
        return self.probabilities.argmax(1)[:, None] == np.arange(len(self.label_names)) if self.sentences else np.zeros((0, 0), bool)

    @property
    def by_count(self) -> dict[str, float]:
        """Of all emotions found in the sentences each one's share in percent, largest first, 100.00 in all; {} where none was found.

        Where a sentence has one emotion this is the percent of the sentences that have it.
        """
        return _sorted_percent(self.label_names, self.found.sum(axis=0))

    @property
    def by_sentence(self) -> dict[str, float]:
        """Percent of the sentences that have each emotion found, largest first; over 100 in all where they have several."""
        shares = 100 * self.found.mean(axis=0) if self.sentences else np.zeros(0)
        pairs = [(name, round(float(share), 2)) for name, share in zip(self.label_names, shares, strict=False) if share]
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    @property
    def by_probability(self) -> dict[str, float]:
        """Mean probability of each emotion as share of them all in percent, largest first, 100.00 in all; {} without sentences."""
        return _sorted_percent(self.label_names, self.probabilities.mean(0) if self.sentences else np.zeros(0))

    def as_json(self) -> dict:
        """Shares and sentences as plain values."""
        rows = zip(self.sentences, self.labels, self.probabilities, strict=True)
        several = {} if self.thresholds is None else {"by_sentence": self.by_sentence, "without_emotion": int((~self.found.any(1)).sum())}
        return {
            "n": len(self.sentences),
            "by_count": self.by_count,
            "by_probability": self.by_probability,
            **several,
            "sentences": [
                {
                    "sentence": sentence,
                    "label": label,
                    "confidence": float(row.max()),
                    "probabilities": dict(zip(self.label_names, row.tolist(), strict=True)),
                }
                for sentence, label, row in rows
            ],
        }


def read_diary(text: str, model: str | Path = DEFAULT_MODEL, max_len: int = 256) -> Diary:
    """Split a text and classify its sentences with a run, a fold or a model folder. Raises UserError where that is no model of texts."""
    if max_len < 3:
        raise UserError(f"max_len: given {max_len}; a sentence needs at least 3 tokens, of which two mark its ends.")
    sentences = tuple(split_sentences(text))
    if not sentences:
        return Diary((), (), np.zeros((0, 0)))
    from ser.inference.prediction import predict_texts  # imports torch, which an empty text or --help needn't wait for

    answer = predict_texts(model, sentences, max_tokens=max_len)
    return Diary(sentences, answer.label_names, answer.probabilities, answer.thresholds)


def analyze_diary_percent(text: str, max_len: int = 256, return_details: bool = False, model: str | Path = DEFAULT_MODEL) -> dict:
    """The share of each emotion among the sentences of a text, in percent, largest first: {"happy": 66.67, "sad": 33.33, ...}.

    max_len: tokens of a sentence that a text encoder reads. return_details: instead {"n", "by_count", "by_probability", "sentences"}; of
    a model that gives a sentence several emotions also "by_sentence" and "without_emotion" (see `Diary`).
    An empty text gives a printed message and an empty result.
    """
    diary = read_diary(text, model, max_len)
    if not diary.sentences:
        print(EMPTY_MESSAGE)
    return diary.as_json() if return_details else diary.by_count


def percent(shares: Sequence[float]) -> list[float]:
    """Numbers of at least 0, one of them above, in percent with two decimals that add up to 100.00 (largest remainders get the rest)."""
    exact = 10_000 * np.asarray(shares, float) / np.sum(shares)
    whole = np.floor(exact).astype(int)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: 10_000 - whole.sum()]] += 1
    return [int(value) / 100 for value in whole]


def plot_shares(diary: Diary, png: str | Path) -> None:
    """Bars of both shares of each emotion."""
    from matplotlib.figure import Figure

    names = list(diary.by_count if diary.thresholds is None else diary.by_sentence)  # of very many emotions those that were found
    figure = Figure(figsize=(7, 1.2 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    counted = "sentences" if diary.thresholds is None else "emotions found"
    for shift, (title, shares, colour) in enumerate(
        ((counted, diary.by_count, "#1f77b4"), ("mean probability", diary.by_probability, "#aec7e8"))
    ):
        bars = axes.barh([place + 0.4 * shift for place in range(len(names))], [shares[name] for name in names], 0.38, color=colour)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        bars.set_label(title)
    axes.set_yticks([place + 0.2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set(xlabel=f"share in percent ({len(diary.sentences)} sentences)", xlim=(0, 112))
    axes.legend(fontsize=8, loc="lower right")
    save_figure(figure, png)


def _sorted_percent(names: Sequence[str], shares: np.ndarray) -> Mapping[str, float]:
    if not np.any(shares):
        return {}
    pairs = zip(names, percent(shares), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
