"""A diary's emotions: each sentence classified, and the share of each emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.diary.sentences import split_sentences
from ser.report.pictures import save_figure
from ser.runtime.errors import UserError

DEFAULT_MODEL = "outputs/klue_roberta_text"
EMPTY_MESSAGE = "there is no sentence in this text, so there is nothing to analyse."


@dataclass(frozen=True)
class Diary:
    """n sentences of a text and their probabilities (n, labels); n may be 0."""

    sentences: tuple[str, ...]
    label_names: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def labels(self) -> list[str]:
        """The likeliest emotion of each sentence."""
        return [self.label_names[i] for i in self.probabilities.argmax(1)] if self.sentences else []

    @property
    def by_count(self) -> dict[str, float]:
        """Percent of the sentences that have each emotion, largest first, 100.00 in all; {} without sentences."""
        counts = np.bincount(self.probabilities.argmax(1), minlength=len(self.label_names)) if self.sentences else np.zeros(0)
        return _sorted_percent(self.label_names, counts)

    @property
    def by_probability(self) -> dict[str, float]:
        """Mean probability of each emotion in percent, largest first, 100.00 in all; {} without sentences."""
        return _sorted_percent(self.label_names, self.probabilities.mean(0) if self.sentences else np.zeros(0))

    def as_json(self) -> dict:
        """Shares and sentences as plain values."""
        rows = zip(self.sentences, self.labels, self.probabilities, strict=True)
        return {
            "n": len(self.sentences),
            "by_count": self.by_count,
            "by_probability": self.by_probability,
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

    probabilities, names = predict_texts(model, sentences, max_tokens=max_len)
    return Diary(sentences, names, probabilities)


def analyze_diary_percent(text: str, max_len: int = 256, return_details: bool = False, model: str | Path = DEFAULT_MODEL) -> dict:
    """The share of each emotion among the sentences of a text, in percent, largest first: {"happy": 66.67, "sad": 33.33, ...}.

    max_len: tokens of a sentence that a text encoder reads. return_details: instead {"n", "by_count", "by_probability", "sentences"}.
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

    names = list(diary.by_count)
    figure = Figure(figsize=(7, 1.2 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    for shift, (title, shares, colour) in enumerate(
        (("sentences", diary.by_count, "#1f77b4"), ("mean probability", diary.by_probability, "#aec7e8"))
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
    if not len(shares):
        return {}
    pairs = zip(names, percent(shares), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
