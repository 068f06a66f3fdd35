"""The page of a run: outputs/X/report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ser.config import Config, as_plain, flat
from ser.inference.runs import Run, read_probabilities
from ser.report.fold_report import fold_table
from ser.report.page.charts import interval_chart
from ser.report.page.content import Section, history_section, make_page
from ser.report.page.judged import ClipFacts, Judged
from ser.report.page.writing import write_page
from ser.runtime.environment import environment

DISPUTED = 12


def write_run_page(run: Run, report: Mapping, caveats: list[str], histories: Mapping[int, pd.DataFrame], facts: ClipFacts) -> Path:
    """Write report.html into the run's folder. report: what report.json holds; caveats: how to read it; histories: by fold."""
    judged = Judged(run.ids, run.labels, run.oof, run.label_names, facts.of(run.ids), facts.wave)
    folds = fold_table(report["folds"])
    named = folds.assign(group=[f"fold {fold}" for fold in folds["fold"]])
    before = [
        Section("How to read", caveats),
        Section("Folds", charts=[interval_chart(named, "accuracy of each fold")], tables={"Folds": folds}),
        *history_section(histories),
    ]
    page = make_page(
        f"{run.folder.name}: out-of-fold report", f"Split: {run.split}.", judged, report["oof"], report["warnings"], before,
        [*_where_folds_disagree(run), _made_with(run)],
    )  # fmt: skip
    return write_page(page, run.folder / "report.html")


def _where_folds_disagree(run: Run) -> list[Section]:
    """The answers of the folds on the test clips, which no fold has heard."""
    if not run.test_ids or len(run.folds) < 2:
        return []
    of_fold = np.stack([read_probabilities(run.folder / f"fold_{fold}" / "test.csv", run.test_ids, run.label_names) for fold in run.folds])
    answers, mean = of_fold.argmax(axis=2), of_fold.mean(axis=0).argmax(axis=1)
    agreeing = (answers == mean).sum(axis=0)
    counts = pd.DataFrame(
        {"folds that agree": (n := np.arange(len(run.folds), 0, -1)), "test clips": [int((agreeing == count).sum()) for count in n]}
    )
    rows = np.argsort(agreeing, kind="stable")[:DISPUTED]
    table = pd.DataFrame({"id": [run.test_ids[row] for row in rows], "mean": [run.label_names[mean[row]] for row in rows]})
    for place, fold in enumerate(run.folds):
        table[f"fold {fold}"] = [run.label_names[answers[place, row]] for row in rows]
    sentence = f"All {len(run.folds)} folds give the same label to {int((agreeing == len(run.folds)).sum())} of {len(mean)} test clips."
    return [Section("Disagreement", [sentence], tables={"Test clips by agreement with the mean": counts, "The most disputed": table})]


def _made_with(run: Run) -> Section:
    config = yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))
    given, usual = flat(config), flat(as_plain(Config()))
    changed = [(key, value, usual.get(key)) for key, value in given.items() if value != usual.get(key)]
    timing = [pd.read_csv(path) for fold in run.folds if (path := run.folder / f"fold_{fold}" / "timing.csv").is_file()]
    hours = sum(float(table["train_seconds"].sum() + table["valid_seconds"].sum()) for table in timing) / 3600
    price = given.get("run.price_per_hour")
    facts = {
        "training and validation": f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:.2f} hours",
        "cost": "set run.price_per_hour to see it" if price is None else f"{price * hours:.2f} at {price:g} an hour",
        "data fingerprint": run.fingerprint,
        **environment(),
    }
    return Section(
        "Made with",
        tables={
            "Config: what differs from the defaults": pd.DataFrame(changed, columns=["key", "here", "default"]),
            "Circumstances": pd.DataFrame(facts.items(), columns=["what", "value"]),
        },
    )
