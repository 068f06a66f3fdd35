"""The table printed when a fold is done."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ser.inference.runs import read_fold
from ser.report.tables import text_table
from ser.runtime.files import read_json
from ser.scoring.metrics import describe, per_class
from ser.scoring.suspicions import suspicions


def fold_report(fold_folder: str | Path) -> str:
    """Several lines of text about a finished fold: best epoch, scores with their company, a table per label, suspicions."""
    folder = Path(fold_folder)
    metrics = read_json(folder / "metrics.json")
    labels, probabilities = read_fold(folder)
    history = pd.read_csv(folder / "history.csv")
    lines = [
        f"fold {metrics['fold']}: best epoch {metrics['epoch']} of {len(history)}, split {metrics['split']}",
        describe(metrics["scores"]),
        text_table(per_class(labels, probabilities, metrics["label_names"])),
        *(f"warning: {line}" for line in suspicions(metrics["scores"], {metrics["fold"]: (metrics, history)})),
    ]
    return "\n".join(lines)
