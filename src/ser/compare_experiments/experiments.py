"""Experiments over the same clips in the same folds: reading their runs, and the table that puts them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.inference.runs import Run, read_run
from ser.inference.same_clips import different_clips
from ser.runtime.errors import UserError
from ser.scoring.metrics import paired_difference, scores

SPLITS = {
    "speaker": "new voices (speaker-disjoint folds)",
    "text": "new sentences (text-disjoint folds)",
    "stratified": "known voices (random folds, stratified by label)",
}
"""In the order in which they are told: the first that was run is the one experiments are compared by."""


@dataclass(frozen=True)
class Experiment:
    """A named experiment: its finished run for each split, and how many clips a second its first model predicts."""

    name: str
    runs: Mapping[str, Run]
    predicted_per_second: float


def read_experiment(name: str, folders: Mapping[str, Path], predicted_per_second: float) -> Experiment:
    """Read the runs of one experiment. folders: split -> run folder."""
    return Experiment(name, {split: read_run(folders[split]) for split in SPLITS if split in folders}, predicted_per_second)


def comparison_table(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """One row per split and experiment: scores with their company, difference to the first experiment in points, costs."""
    rows = []
    for split in experiments[0].runs:
        baseline = experiments[0].runs[split]
        for experiment in experiments:
            run = experiment.runs[split]
            result = scores(run.labels, run.oof, run.speakers)
            row = {"split": split, "experiment": experiment.name} | {
                key: result[key] for key in ("n", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "uar", "log_loss")
            }
            gain = None if experiment is experiments[0] else paired_difference(run.labels, run.oof, baseline.oof, run.speakers)
            row |= {f"points_{key}": None if gain is None else 100 * gain[key] for key in ("difference", "low", "high")}
            rows.append(row | _costs(run) | {"predicted_per_second": experiment.predicted_per_second})
    return pd.DataFrame(rows)


def speaker_gaps(experiments: Sequence[Experiment]) -> pd.DataFrame | None:
    """How many points each experiment loses on voices it hasn't heard; None where one of the splits wasn't run.

    Paired, since both splits predict the same clips out of fold.
    """
    if any(not {"speaker", "stratified"} <= experiment.runs.keys() for experiment in experiments):
        return None
    rows = []
    for experiment in experiments:
        apart, known = experiment.runs["speaker"], experiment.runs["stratified"]
        gap = paired_difference(known.labels, known.oof, apart.oof, known.speakers)
        rows.append({"experiment": experiment.name} | {f"gap_{key}": 100 * gap[key] for key in ("difference", "low", "high")})
    return pd.DataFrame(rows)


def _costs(run: Run) -> dict:
    """Parameters, speed and memory, as the folds measured them."""
    timings = [pd.read_csv(path) for fold in run.folds if (path := run.folder / f"fold_{fold}" / "timing.csv").exists()]
    timing = pd.concat(timings) if timings else pd.DataFrame(columns=["train_seconds", "clips_per_second", "peak_memory_mb"], dtype=float)
    metrics = run.metrics[run.folds[0]]
    return {
        "parameters": metrics.get("parameters", np.nan),
        "trained_parameters": metrics.get("trained_parameters", np.nan),
        "trained_per_second": float(timing["clips_per_second"].median()),
        "train_minutes": float(timing["train_seconds"].sum()) / 60,
        "peak_memory_mb": float(timing["peak_memory_mb"].max()),
    }


def check_same_clips(experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    for experiment in experiments:
        for split, run in experiment.runs.items():
            other = first.runs[split]
            same = run.ids == other.ids and np.array_equal(run.labels, other.labels) and not different_clips(run, other)
            if not same or not np.array_equal(run.fold_of, other.fold_of):
                raise UserError(
                    f"{run.folder} and {other.folder} hold different clips or folds, so they can't be compared. "
                    "Choose another --output, or train again with --run.start_over true."
                )
