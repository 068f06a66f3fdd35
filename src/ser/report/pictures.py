"""The pictures of a run. They are drawn without pyplot, so nothing global changes and no display is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.report.letters import as_drawn, make_readable
from ser.runtime.files import atomic_path
from ser.scoring.metrics import confusion_matrix

TRAIN_COLOUR, VALID_COLOUR, F1_COLOUR, UAR_COLOUR = "#7f7f7f", "#1f77b4", "#2ca02c", "#d62728"


def plot_history(history: str | Path | pd.DataFrame, png: str | Path, best_epoch: int | None = None) -> None:
    """Losses and scores by epoch from a history.csv or its table; a line marks the best epoch (1-based) where given.

    Columns epoch, train_loss, and of valid_loss, train_accuracy, valid_accuracy, valid_macro_f1 and valid_uar those that are there.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not isinstance(history, pd.DataFrame):
        history = pd.read_csv(history)
    figure = Figure(figsize=(10, 4))  # margins by hand: a layout engine draws everything three times
    loss, score = figure.subplots(1, 2, gridspec_kw={"left": 0.07, "right": 0.985, "bottom": 0.13, "top": 0.96, "wspace": 0.18})
    epoch = history["epoch"]
    loss.plot(epoch, history["train_loss"], "o-", color=TRAIN_COLOUR, label="train")
    if "valid_loss" in history:
        loss.plot(epoch, history["valid_loss"], "o-", color=VALID_COLOUR, label="validation")
    for column, style, colour, label in (
        ("train_accuracy", "o-", TRAIN_COLOUR, "train accuracy"),
        ("valid_accuracy", "o-", VALID_COLOUR, "validation accuracy"),
        ("valid_macro_f1", ".--", F1_COLOUR, "validation macro-F1"),
        ("valid_uar", ".:", UAR_COLOUR, "validation UAR"),
    ):
        if column in history:
            score.plot(epoch, history[column], style, color=colour, label=label)
    score.set_ylim(-0.02, 1.02)
    for axes, title in ((loss, "loss"), (score, "score")):
        if best_epoch is not None:
            axes.axvline(best_epoch, color="black", linewidth=0.8, linestyle=":", label=f"best epoch ({best_epoch})")
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(epoch) == 1:
            axes.set_xticks(epoch)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, png)


def plot_confusion(
    labels: np.ndarray, probabilities: np.ndarray, label_names: Sequence[str], png: str | Path, title: str | None = None
) -> None:
    """Confusion matrix: in each cell the share of the true label's clips in percent, and below it their number."""
    from matplotlib.figure import Figure

    matrix, label_names = confusion_matrix(np.asarray(labels), np.asarray(probabilities)), as_drawn(label_names)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    count = len(label_names)
    rows = [f"{name} ({n})" for name, n in zip(label_names, matrix.sum(axis=1), strict=True)]
    side = max(0.72 * count, 2.6)
    left, bottom, right, top = 0.5 + _inches(rows), 0.6 + 0.7 * _inches(label_names), 0.15, 0.4
    width, height = left + side + right, bottom + side + top
    figure = Figure(figsize=(width, height))  # margins by hand: a layout engine draws everything three times
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(count, count):
        if matrix[row, column]:
            colour = "white" if share[row, column] > 0.5 else "black"
            text = f"{100 * share[row, column]:.0f} %\n{matrix[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(count), label_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), rows)
    axes.set(xlabel="predicted", ylabel="true (clips)", title=title or f"accuracy {np.trace(matrix) / max(matrix.sum(), 1):.3f}")
    save_figure(figure, png)


def _inches(texts: Sequence[str]) -> float:
    """About how wide the longest text is on a picture."""
    return max(sum(0.085 if letter.isascii() else 0.15 for letter in text) for text in texts)


def save_figure(figure: object, png: str | Path) -> None:
    """Write a matplotlib figure, all of it or nothing."""
    make_readable(figure)
    with atomic_path(png) as temporary:
        # Without the version in the metadata the same run gives the same bytes on the next matplotlib release.
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
