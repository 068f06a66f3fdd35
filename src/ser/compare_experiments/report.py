"""Experiments side by side: one table, one picture, one page.

Every experiment is a run over the same clips in the same folds; where speakers are known there are two such runs, one with
speakers kept apart and one without, and the gap between them is a result in its own right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.compare_experiments.experiments import SPLITS, Experiment, check_same_clips, comparison_table, speaker_gaps
from ser.compare_experiments.plots import plot_comparison, plot_histories
from ser.report.tables import markdown_table
from ser.runtime.files import write_csv, write_text
from ser.scoring.intervals import describe_interval, told_interval
from ser.scoring.metrics import majority_baseline


def write_comparison(experiments: Sequence[Experiment], output: Path) -> pd.DataFrame:
    """Write comparison.csv, comparison.md, comparison.png and (where something is trained by epochs) histories.png; returns the table.

    The first experiment is the baseline of the differences. Raises UserError when runs hold different clips or folds.
    """
    check_same_clips(experiments)
    table = comparison_table(experiments)
    gaps = speaker_gaps(experiments)
    write_csv(output / "comparison.csv", table)
    plot_comparison(table, output / "comparison.png")
    by_epochs = [experiment for experiment in experiments if _is_trained_by_epochs(experiment)]
    (output / "histories.png").unlink(missing_ok=True)  # of an earlier comparison
    if by_epochs:
        plot_histories(by_epochs, output / "histories.png")
    write_text(output / "comparison.md", _as_markdown(experiments, by_epochs, table, gaps, output))
    return table


def _is_trained_by_epochs(experiment: Experiment) -> bool:
    """Not fitted in one go: there is a history, and an epoch was chosen."""
    return any(run.metrics[fold].get("epochs_run", 1) > 1 for run in experiment.runs.values() for fold in run.folds)


def _as_markdown(
    experiments: Sequence[Experiment], by_epochs: Sequence[Experiment], table: pd.DataFrame, gaps: pd.DataFrame | None, output: Path
) -> str:
    first = experiments[0]
    parts = [f"# {len(experiments)} experiments on one split", "![comparison](comparison.png)"]
    for split, run in first.runs.items():
        parts += [f"## {SPLITS[split][0].upper()}{SPLITS[split][1:]}", f"Split of every experiment: {run.split}."]
        parts.append(markdown_table(_told(table[table["split"] == split], first.name)))
    if leaks := dict.fromkeys(run.text_leak for experiment in experiments for run in experiment.runs.values() if run.text_leak):
        parts += [f"**Warning:** {leak}" for leak in leaks]
    parts.append(_how_to_read(first, table, [experiment.name for experiment in by_epochs]))
    if gaps is not None:
        parts += [
            "## What knowing the voice is worth",
            "Accuracy with random folds minus accuracy with speaker-disjoint folds, in points, paired clip by clip: what a random split "
            "flatters an experiment by.",
            markdown_table(
                pd.DataFrame(
                    {
                        "experiment": gaps["experiment"],
                        "gap": [_interval(*row) for row in gaps[["gap_difference", "gap_low", "gap_high"]].to_numpy()],
                    }
                )
            ),
        ]
    else:
        parts += [
            "## What knowing the voice is worth",
            "Only one split was run, so the gap between known and new voices can't be told. It needs known speakers (a CSV "
            "`id,speaker`, --data.speakers) and cv.split auto.",
        ]
    if by_epochs:
        parts += ["## Histories", "![histories](histories.png)"]
    parts.append("## Confusion")
    for experiment in experiments:
        for split, run in experiment.runs.items():
            folder = run.folder.relative_to(output).as_posix()
            parts.append(f"### {experiment.name}, {SPLITS[split]}\n\n[Report]({folder}/report.md), [results]({folder}/report.json)")
            parts.append(f"![confusion]({folder}/confusion.png)")
            links = ", ".join(f"[{fold}]({folder}/fold_{fold}/history.png)" for fold in run.folds)
            parts.append(f"History of fold {links}.")
    return "\n\n".join(parts) + "\n"


def _told(table: pd.DataFrame, first: str) -> pd.DataFrame:
    """The table as people read it."""
    told = pd.DataFrame({"experiment": table["experiment"]})
    told["accuracy [95 %]"] = [f"{a:.3f} [{b:.3f}, {c:.3f}]" for a, b, c in table[["accuracy", "accuracy_low", "accuracy_high"]].to_numpy()]
    told[f"points to {first}"] = [
        _interval(*row) for row in table[["points_difference", "points_low", "points_high"]].to_numpy(dtype=float)
    ]
    told["majority"], told["macro-F1"], told["UAR"] = table["majority"], table["macro_f1"], table["uar"]
    told["parameters"] = [_parameters(*row) for row in table[["parameters", "trained_parameters"]].to_numpy()]
    told["trained clips/s"] = [f"{value:.0f}" for value in table["trained_per_second"]]
    told["predicted clips/s"] = [f"{value:.0f}" for value in table["predicted_per_second"]]
    told["training min"] = [f"{value:.1f}" for value in table["train_minutes"]]
    told["peak MB"] = [f"{value:.0f}" for value in table["peak_memory_mb"]]
    return told


def _interval(value: float, low: float, high: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _parameters(count: float, trained: float) -> str:
    if np.isnan(count):
        return "–"
    return f"{count:,.0f}" if trained == count else f"{count:,.0f} ({trained:,.0f} trained)"


def _how_to_read(first: Experiment, table: pd.DataFrame, by_epochs: Sequence[str]) -> str:
    run = next(iter(first.runs.values()))
    lines = [
        f"n = {len(run.ids)} clips, each predicted by the fold that hasn't trained on it; always answering the commonest label gives "
        f"{majority_baseline(run.labels):.3f}. In brackets: {describe_interval(told_interval(run.speakers))}; "
        "UAR is the mean recall over labels.",
        f"Points are percentage points of accuracy more than {first.name} on the same clips, paired clip by clip. An interval that "
        "holds 0 is no proven difference.",
        "Clips/s and memory are of this machine: training as the folds measured it, prediction by the saved model of the first fold. "
        "Each experiment ran in a process of its own; memory is the GPU's where there is one, else the process's.",
    ]
    if by_epochs:
        chosen = "Every experiment" if len(by_epochs) == table["experiment"].nunique() else ", ".join(by_epochs)
        lines.append(f"{chosen}: the epoch of each fold was chosen on its own validation part, so the accuracy is slightly optimistic.")
    if (table["trained_parameters"] < table["parameters"]).any():
        lines.append("Where encoder outputs are cached, training clips/s don't contain the encoder's one pass over the clips.")
    return "\n".join(f"- {line}" for line in lines)
