"""What a page says, section by section, ready for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from markupsafe import Markup

from ser.data.labels import display_korean, is_emotion
from ser.report.page.charts import interval_chart, line_chart, reliability_chart
from ser.report.page.clips import cells, lists, shown_clips
from ser.report.page.judged import Judged
from ser.report.page.slices import slices
from ser.scoring.calibration import expected_calibration_error, reliability
from ser.scoring.intervals import describe_interval
from ser.scoring.metrics import confusion_matrix, per_class

ONE_LABEL = {
    "accuracy": "accuracy", "n": "clips", "majority": "majority", "macro_f1": "macro-F1", "uar": "UAR", "log_loss": "log loss",
}  # fmt: skip
SEVERAL_LABELS = {
    "micro_f1": "micro-F1", "macro_f1": "macro-F1", "auc": "AUC", "accuracy": "whole sets right", "n": "clips",
    "labels_a_clip": "labels a clip",
}  # fmt: skip
"""What the top of a page shows of the scores, and how it calls it."""


@dataclass(frozen=True)
class Section:
    """title: of the heading. paragraphs, charts, tables (caption -> table) are shown in this order. kind: of those the template knows."""

    title: str
    paragraphs: Sequence[str] = ()
    charts: Sequence[Markup] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    kind: str = "plain"

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True, eq=False)
class Page:
    """One page. scores: of `scoring.metrics.scores`. sections: in order. clips: {row: what is shown}; cells and lists name rows of it."""

    title: str
    subtitle: str
    scores: Mapping
    warnings: Sequence[str]
    label_names: Sequence[str]
    sections: Sequence[Section]
    confusion: np.ndarray
    cells: Mapping[str, Sequence[int]]
    lists: Mapping[str, Sequence[int]]
    clips: Mapping[int, dict]

    @property
    def headline(self) -> list[tuple[str, float, tuple[float, float] | None]]:
        """The figures at the top: what, how much, its interval."""
        names = SEVERAL_LABELS if "micro_f1" in self.scores else ONE_LABEL
        given = self.scores
        return [
            (title, given[name], (given[f"{name}_low"], given[f"{name}_high"]) if f"{name}_low" in given else None)
            for name, title in names.items()
        ]

    @property
    def interval(self) -> str:
        """How the interval was made, and what the headline's words mean."""
        words = "AUC and F1 as mean of the labels (macro) or over all together (micro)"
        words = words if "micro_f1" in self.scores else "majority: always giving the commonest label; UAR: mean recall over labels"
        return f"{describe_interval(self.scores)}; {words}."

    @property
    def shown_names(self) -> list[str]:
        """The labels in English and, where the registry has it, in Korean."""
        return [f"{name} {display_korean(name)}" if is_emotion(name) else name for name in self.label_names]


def make_page(
    title: str,
    subtitle: str,
    judged: Judged,
    scores: Mapping,
    warnings: Sequence[str],
    before: Sequence[Section] = (),
    after: Sequence[Section] = (),
) -> Page:
    """A page about predictions. before: sections that come first (folds, history, members); after: those that come last."""
    of_cell = cells(judged)
    shown = lists(judged)
    middle = [Section("Confusion", kind="confusion"), *_about_labels(judged), *_about_slices(judged)]
    listen = Section(
        "Listen" if judged.wave else "Read",
        ["A sure mistake is a clip that is mislabelled, or one that the model can't tell. A close call shows where two labels meet."],
        kind="clips",
    )
    return Page(
        title=title,
        subtitle=subtitle,
        scores=scores,
        warnings=tuple(warnings),
        label_names=judged.label_names,
        sections=[*before, *middle, listen, *after],
        confusion=confusion_matrix(judged.labels, judged.probabilities),
        cells=of_cell,
        lists=shown,
        clips=shown_clips(judged, [*shown.values(), *of_cell.values()]),
    )


def history_section(histories: Mapping[int, pd.DataFrame]) -> list[Section]:
    """Loss and accuracy by epoch, a line per fold and part; nothing where no fold has a second epoch."""
    if not any(len(history) > 1 for history in histories.values()):
        return []
    charts = []
    for what, low, high in (("loss", None, None), ("accuracy", 0.0, 1.0)):
        series = {}
        for fold, history in histories.items():
            series[f"fold {fold}"] = history[f"valid_{what}"].tolist()
            series[f"fold {fold} (train)"] = history[f"train_{what}"].tolist()
        charts.append(line_chart(series, f"{what} by epoch, train and validation of each fold", f"epoch ({what})", low, high))
    return [Section("History", ["Solid: validation part. Dashed: training part. One colour per fold."], charts)]


def _about_labels(judged: Judged) -> list[Section]:
    classes = per_class(judged.labels, judged.probabilities, judged.label_names)
    bins = reliability(judged.labels, judged.probabilities)
    error = expected_calibration_error(judged.labels, judged.probabilities)
    chart = reliability_chart(bins, "accuracy against confidence")
    sentence = (
        f"Expected calibration error {error:.3f}: how far confidence is from accuracy on average. "
        "Bars under the diagonal mean too sure, above it too modest."
    )
    return [Section("Labels", tables={"Scores per label": classes}), Section("Calibration", [sentence], [chart], {"Bins": bins})]


def _about_slices(judged: Judged) -> list[Section]:
    parted = slices(judged)
    if not parted:
        return []
    charts = [interval_chart(table, f"accuracy by {title}") for title, table in parted.items()]
    titles = [f"Accuracy by {title}" for title in parted]
    sentence = "Where the model is weak. Bars are 95 % intervals, the tick is what always giving the commonest label reaches there."
    return [Section("Slices", [sentence], charts, dict(zip(titles, parted.values(), strict=True)))]
