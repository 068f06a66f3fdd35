"""What is told of a run's folds: the table printed when one is done, and the rows of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ser.inference.run_files import is_fitted_in_one_go
from ser.inference.runs import Run, read_fold
from ser.report.tables import text_table
from ser.runtime.files import read_json
from ser.scoring.metrics import describe, per_class
from ser.scoring.suspicions import suspicions


def fold_report(fold_folder: str | Path) -> str:
    """Several lines of text about a finished fold: its best epoch, scores with their company, a table per label, suspicions."""
    folder = Path(fold_folder)
    metrics = read_json(folder / "metrics.json")
    labels, probabilities = read_fold(folder)
    history = pd.read_csv(folder / "history.csv")
    made = "fitted in one go" if is_fitted_in_one_go(metrics) else f"best epoch {metrics['epoch']} of {len(history)}"
    lines = [
        f"fold {metrics['fold']}: {made}, split {metrics['split']}",
        describe(metrics["scores"]),
        text_table(per_class(labels, probabilities, metrics["label_names"])),
        *(f"warning: {line}" for line in suspicions(metrics["scores"], {metrics["fold"]: (metrics, history)})),
    ]
    return "\n".join(lines)


def fold_rows(run: Run, columns: Sequence[str]) -> list[dict]:
    """A row per finished fold: its number, its epoch (None where models are fitted in one go), and these of its scores."""
    rows = []
    for fold in run.folds:
        metrics = run.metrics[fold]
        epoch = None if is_fitted_in_one_go(metrics) else metrics["epoch"]
        rows.append({"fold": fold, "epoch": epoch} | {key: metrics["scores"][key] for key in columns})
    return rows


def fold_table(rows: Sequence[dict]) -> pd.DataFrame:
    """Rows of `fold_rows` as they are shown: without epochs where there are none."""
    table = pd.DataFrame(rows)
    return table.drop(columns="epoch") if table["epoch"].isna().all() else table
