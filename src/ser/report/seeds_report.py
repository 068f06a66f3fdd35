"""The report of one experiment trained with several seeds: oof.csv (their average), report.json, report.md and report.html."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.inference.seed_runs import read_seeds
from ser.report.page.charts import interval_chart
from ser.report.page.content import Section, make_page
from ser.report.page.judged import NOTHING_KNOWN, ClipFacts, Judged
from ser.report.page.writing import write_page
from ser.report.run_report import oof_table
from ser.report.tables import markdown_table
from ser.runtime.files import read_json, write_csv, write_json, write_text
from ser.scoring.metrics import describe, scores
from ser.scoring.spread import describe_spread, seed_spread

COLUMNS = ("n", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "uar", "log_loss")


def seeds_report(folder: str | Path, facts: ClipFacts = NOTHING_KNOWN) -> dict:
    """Write the report of a folder of seeds, whose runs are finished. Returns what report.json holds. facts: as for `run_report`."""
    folder, runs = Path(folder), read_seeds(folder)
    average, names = runs.average, [run.folder.name for run in runs.runs]
    result = scores(average.labels, average.oof, average.speakers)
    spread = seed_spread(average.labels, np.stack([run.oof for run in runs.runs]), average.speakers)
    rows = [scores(run.labels, run.oof, run.speakers) for run in runs.runs]
    report = {
        "run": folder.name,
        "split": average.split,
        "oof": result,
        "spread": spread,
        "seeds": [{"seed": name} | {key: row[key] for key in COLUMNS} for name, row in zip(names, rows, strict=True)],
        "warnings": [f"{name}: {line}" for run, name in zip(runs.runs, names, strict=True) for line in _warnings(run.folder)],
    }
    told = describe_spread(spread, names)
    write_csv(folder / "oof.csv", oof_table(average))
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", _as_markdown(report, told))
    judged = Judged(average.ids, average.labels, average.oof, average.label_names, facts.of(average.ids), facts.wave)
    table = pd.DataFrame([*report["seeds"], {"seed": "average"} | {key: result[key] for key in COLUMNS}])
    chart = interval_chart(table.assign(group=table["seed"]), "accuracy of each seed and of their average")
    section = Section("Seeds", [*told, f"Split: {average.split}."], [chart], {"Seeds": table})
    page = make_page(
        f"{folder.name}: {len(names)} seeds, averaged", f"Split: {average.split}.", judged, result, report["warnings"], [section]
    )
    write_page(page, folder / "report.html")
    return report


def _warnings(run: Path) -> list[str]:
    return read_json(run / "report.json")["warnings"]


def _as_markdown(report: dict, told: list[str]) -> str:
    parts = [
        f"# {report['run']}: {len(report['seeds'])} seeds",
        f"Out-of-fold, their probabilities averaged: {describe(report['oof'])}.",
        *(f"**Warning:** {line}" for line in report["warnings"]),
        "\n".join(f"- {line}" for line in [*told, f"Split: {report['split']}. All seeds have the same folds."]),
        markdown_table(pd.DataFrame(report["seeds"])),
        "Each seed has a report of its own in its folder.",
    ]
    return "\n\n".join(parts) + "\n"
