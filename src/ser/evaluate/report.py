"""What an evaluation leaves in its folder: report.md, report.json, tables and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.evaluate.evaluation import Evaluation
from ser.report.pictures import plot_confusion, save_figure
from ser.report.tables import markdown_table, without_formulas
from ser.runtime.files import write_csv, write_json, write_text
from ser.scoring.metrics import confusion_matrix, describe

MISTAKES_SHOWN = 20


def write_evaluation(found: Evaluation, folder: str | Path) -> dict:
    """Write everything into the folder; returns what report.json holds."""
    folder = Path(folder)
    mistakes = found.mistakes
    report = {
        "model": found.model,
        "data": found.data,
        "scores": found.result,
        "classes": found.classes.to_dict("records"),
        "confusion": {"labels": list(found.label_names), "counts": confusion_matrix(found.labels, found.probabilities)},
        "reliability": found.reliability.to_dict("records"),
        "temperature": found.temperature,
        "views": found.views and {"views": list(found.views.views), **found.views.gain, "log_loss": found.views.log_loss},
        "mapping": found.mapping,
        "unusable": list(found.unusable),
        "mistakes": mistakes.head(MISTAKES_SHOWN).to_dict("records"),
        "warnings": list(found.warnings),
    }
    plot_confusion(found.labels, found.probabilities, found.label_names, folder / "confusion.png")
    plot_class_metrics(found.classes, folder / "classes.png")
    plot_reliability({"": found.reliability}, folder / "reliability.png", f"expected calibration error {found.result['ece']:.3f}")
    write_csv(folder / "predictions.csv", without_formulas(_predictions(found)))
    write_csv(folder / "mistakes.csv", without_formulas(mistakes))
    write_text(folder / "report.md", as_markdown(found))
    write_json(folder / "report.json", report)
    return report


def as_markdown(found: Evaluation) -> str:
    """The report as text, with its pictures by name."""
    worst = found.mistakes.head(MISTAKES_SHOWN)
    counts = confusion_matrix(found.labels, found.probabilities)
    confusion = pd.DataFrame(counts, columns=list(found.label_names))
    confusion.insert(0, "true \\ predicted", list(found.label_names))
    parts = [
        f"# {found.model} on {found.data}",
        f"{describe(found.result)}; expected calibration error {found.result['ece']:.3f}.",
        *[f"Heard in views: {found.views}."] * bool(found.views),
        *(f"**Warning:** {line}" for line in found.warnings),
        f"Not scored because unusable: {len(found.unusable)}{_statuses(found.unusable)}."
        + (f" Confidence at temperature {found.temperature:.3f}." if found.temperature != 1 else ""),
        "## Labels",
        markdown_table(found.classes),
        "![precision, recall and F1 per label](classes.png)",
        "## Confusion",
        markdown_table(confusion),
        "![confusion matrix, shares and counts](confusion.png)",
        "## Calibration",
        markdown_table(found.reliability),
        "![reliability diagram](reliability.png)",
        f"## The surest mistakes ({len(worst)} of {len(found.mistakes)}; all in mistakes.csv)",
        markdown_table(worst) if len(worst) else "There are none.",
    ]
    return "\n\n".join(parts) + "\n"


def plot_class_metrics(classes: pd.DataFrame, png: str | Path) -> None:
    """Bars of precision, recall and F1 per label; classes as `ser.scoring.metrics.per_class` gives them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 + 0.8 * len(classes), 4), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(classes))
    for shift, name in zip((-0.27, 0.0, 0.27), ("precision", "recall", "f1"), strict=True):
        axes.bar(place + shift, classes[name], 0.26, label="F1" if name == "f1" else name)
    labels = [f"{label} ({n})" for label, n in zip(classes["label"], classes["n"], strict=True)]
    axes.set_xticks(place, labels, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set(ylim=(0, 1), ylabel="score", xlabel="label (clips)")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3)
    save_figure(figure, png)


def plot_reliability(tables: dict[str, pd.DataFrame], png: str | Path, title: str) -> None:
    """Accuracy against confidence, a bar per bin, its clips written in it; one panel per table of `ser.scoring.calibration.reliability`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(tables), 4.6), layout="constrained")
    for axes, (name, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        width = (table["high"] - table["low"]).to_numpy()
        axes.bar(table["low"], table["accuracy"], width, align="edge", edgecolor="white", label="accuracy")
        axes.plot(table["confidence"], table["accuracy"], ".", color="black", label="mean confidence of the bin")
        axes.plot([0, 1], [0, 1], "--", color="grey", label="as sure as right")
        for left, right, n in zip(table["low"], table["high"], table["n"], strict=True):
            axes.text((left + right) / 2, 0.02, str(n), ha="center", fontsize=7, rotation=90)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=name)
        axes.legend(fontsize=8, loc="upper left")
    figure.suptitle(title)
    save_figure(figure, png)


def _predictions(found: Evaluation) -> pd.DataFrame:
    best = found.probabilities.argmax(axis=1)
    table = pd.DataFrame(
        {
            "id": list(found.ids),
            **{column: list(values) for column, values in found.clips.items()},
            "label": [found.label_names[label] for label in found.labels],
            "predicted": [found.label_names[label] for label in best],
            "confidence": found.probabilities.max(axis=1),
        }
    )
    return table.join(pd.DataFrame(found.probabilities, columns=[f"p_{name}" for name in found.label_names]))


def _statuses(clips: Sequence[dict]) -> str:
    counts = Counter(clip["status"] for clip in clips)
    return f" ({', '.join(f'{n} {status}' for status, n in sorted(counts.items()))})" if counts else ""
