"""The report of a run whose clips may have several labels: thresholds.json, oof.csv, report.json, report.md and report.html in its folder.

The labels of a clip are given by thresholds that were fitted to the out-of-fold predictions of the other folds; those that prediction uses
from then on (thresholds.json) are fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser.data.label_matrix import listed
from ser.inference.runs import Run
from ser.report.fold_report import fold_rows, fold_table
from ser.report.page.content import Page, Section, history_section
from ser.report.page.writing import write_page
from ser.report.tables import markdown_table
from ser.runtime.files import write_csv, write_json, write_text
from ser.scoring.intervals import describe_interval
from ser.scoring.multi_label import as_records, describe_multi_label, multi_label_scores, per_label
from ser.scoring.suspicions import suspicions
from ser.scoring.thresholds import FILE, cross_fitted, fit_thresholds

FOLD_COLUMNS = ("n", "micro_f1", "macro_f1", "auc", "accuracy", "log_loss")


def multi_label_report(run: Run, about: Mapping, caveats: Sequence[str], histories: Mapping[int, pd.DataFrame]) -> dict:
    """Write everything into the run's folder; returns what report.json holds.

    about: what the report of any run holds besides scores (see `ser.report.run_report`); caveats: in sentences; histories: by fold.
    """
    given = cross_fitted(run.labels, run.oof, run.fold_of)
    thresholds = fit_thresholds(run.labels, run.oof)
    result = multi_label_scores(run.labels, run.oof, run.speakers, given)
    classes = per_label(run.labels, run.oof, run.label_names, given).assign(threshold=thresholds)
    found = suspicions(result, {fold: (run.metrics[fold], histories[fold]) for fold in run.folds})
    report = {
        **about,
        "multi_label": True,
        "oof": result,
        "folds": fold_rows(run, FOLD_COLUMNS),
        "classes": as_records(classes),
        "votes": None,
        "warnings": [*about["warnings"], *found],
    }
    notes = [*caveats, *how_to_read(result)]
    write_json(run.folder / FILE, {"thresholds": dict(zip(run.label_names, thresholds.tolist(), strict=True)), "clips": len(run.ids)})
    write_csv(run.folder / "oof.csv", _oof_table(run, given))
    write_json(run.folder / "report.json", report)
    folds = fold_table(report["folds"])
    write_text(run.folder / "report.md", as_markdown(run.folder.name, "Out-of-fold", result, report["warnings"], notes, classes, folds))
    before = [Section("How to read", notes), Section("Folds", tables={"Folds": folds}), *history_section(histories)]
    after = Section("Labels", tables={"Scores per label": classes})
    page = plain_page(f"{run.folder.name}: out-of-fold report", f"Split: {run.split}.", result, report["warnings"], [*before, after])
    write_page(page, run.folder / "report.html")
    return report


FITTED_ELSEWHERE = "the thresholds that judge a clip weren't fitted to it"


def how_to_read(result: Mapping, thresholds: str = FITTED_ELSEWHERE) -> list[str]:
    """What the scores mean. thresholds: what they were fitted to."""
    return [
        f"A clip may have several of the {result['labels']} labels, or none: {result['labels_a_clip']:.2f} in the mean, "
        f"{result['without_label']} of {result['n']} clips have none. A label is given from a probability (threshold) on that is its own; "
        f"{thresholds}.",
        "micro-F1 counts all labels of all clips together, macro-F1 is the mean of the labels' F1 and AUC of their areas under the ROC "
        "curve (no threshold in it); accuracy is the share of clips of which every single label is right. In brackets: "
        f"{describe_interval(result)}. A baseline is the most that one answer for all clips can reach in this score alone.",
        "F1 and accuracy of a single fold are by thresholds fitted to its own other half.",
    ]


def as_markdown(
    title: str, how: str, result: Mapping, warnings: Sequence[str], notes: Sequence[str], classes: pd.DataFrame, folds: pd.DataFrame | None
) -> str:
    """The report as text."""
    parts = [
        f"# {title}",
        f"{how}: {describe_multi_label(result)}.",
        *(f"**Warning:** {line}" for line in warnings),
        "## How to read these numbers",
        "\n".join(f"- {line}" for line in notes),
        *(["## Folds", markdown_table(folds)] if folds is not None else []),
        "## Labels",
        markdown_table(classes),
    ]
    return "\n\n".join(parts) + "\n"


def plain_page(title: str, subtitle: str, result: Mapping, warnings: Sequence[str], sections: Sequence[Section]) -> Page:
    """A page of tables: clips of several labels have no confusion matrix, and no one answer to look into."""
    return Page(title, subtitle, result, tuple(warnings), (), sections, np.zeros((0, 0)), {}, {}, {})


def _oof_table(run: Run, given: np.ndarray) -> pd.DataFrame:
    """Columns id, fold, label (joy|sadness), given (the same, by thresholds fitted to other folds) and p_<label> …"""
    table = pd.DataFrame(run.oof, columns=[f"p_{name}" for name in run.label_names])
    for name, values in (("given", listed(given, run.label_names)), ("label", listed(run.labels, run.label_names)), ("fold", run.fold_of)):
        table.insert(0, name, values)
    table.insert(0, "id", run.ids)
    return table
