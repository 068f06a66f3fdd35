"""Experiments side by side: one table, one picture, one page.

Every experiment is a run over the same clips in the same folds; where speakers are known there are two such runs, one with
speakers kept apart and one without, and the gap between them is a result in its own right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.inference.runs import Run, read_run
from ser.report.tables import markdown_table
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_path, write_csv, write_text
from ser.scoring.metrics import majority_baseline, paired_difference, scores

SPLITS = {
    "speaker": "new voices (speaker-disjoint folds)",
    "text": "new sentences (text-disjoint folds)",
    "stratified": "known voices (random folds, stratified by label)",
}
"""In the order in which they are told: the first that was run is the one experiments are compared by."""
COLOURS = {"speaker": "#1f77b4", "text": "#2ca02c", "stratified": "#ff7f0e"}


@dataclass(frozen=True)
class Experiment:
    """A named experiment: its finished run for each split, and how many clips a second its first model predicts."""

    name: str
    runs: Mapping[str, Run]
    predicted_per_second: float


def read_experiment(name: str, folders: Mapping[str, Path], predicted_per_second: float) -> Experiment:
    """Read the runs of one experiment. folders: split -> run folder."""
    return Experiment(name, {split: read_run(folders[split]) for split in SPLITS if split in folders}, predicted_per_second)


def write_comparison(experiments: Sequence[Experiment], output: Path, seed: int = 0) -> pd.DataFrame:
    """Write comparison.csv, comparison.md, comparison.png and (where something is trained by epochs) histories.png; returns the table.

    The first experiment is the baseline of the differences. Raises UserError when runs hold different clips or folds.
    """
    _check_same_clips(experiments)
    table = comparison_table(experiments, seed)
    gaps = speaker_gaps(experiments, seed)
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


def comparison_table(experiments: Sequence[Experiment], seed: int = 0) -> pd.DataFrame:
    """One row per split and experiment: scores with their company, difference to the first experiment in points, costs."""
    rows = []
    for split in experiments[0].runs:
        baseline = experiments[0].runs[split]
        for experiment in experiments:
            run = experiment.runs[split]
            result = scores(run.labels, run.oof, run.speakers, seed)
            row = {"split": split, "experiment": experiment.name} | {
                key: result[key] for key in ("n", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "uar", "log_loss")
            }
            if experiment is experiments[0]:
                difference = {"difference": None, "low": None, "high": None}
            else:
                difference = paired_difference(run.labels, run.oof, baseline.oof, run.speakers, seed)
            row |= {f"points_{key}": None if value is None else 100 * value for key, value in difference.items()}
            rows.append(row | _costs(run) | {"predicted_per_second": experiment.predicted_per_second})
    return pd.DataFrame(rows)


def speaker_gaps(experiments: Sequence[Experiment], seed: int = 0) -> pd.DataFrame | None:
    """How many points each experiment loses on voices it hasn't heard; None where one of the splits wasn't run.

    Paired, since both splits predict the same clips out of fold.
    """
    if any(not {"speaker", "stratified"} <= experiment.runs.keys() for experiment in experiments):
        return None
    rows = []
    for experiment in experiments:
        apart, known = experiment.runs["speaker"], experiment.runs["stratified"]
        gap = paired_difference(known.labels, known.oof, apart.oof, known.speakers, seed)
        rows.append({"experiment": experiment.name} | {f"gap_{key}": 100 * value for key, value in gap.items()})
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


def _check_same_clips(experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    for experiment in experiments:
        for split, run in experiment.runs.items():
            other = first.runs[split]
            # One that hears and one that reads have fingerprints of different contents.
            same = run.fingerprint == other.fingerprint if run.input == other.input else np.array_equal(run.labels, other.labels)
            if not same or run.ids != other.ids or not np.array_equal(run.fold_of, other.fold_of):
                raise UserError(
                    f"{run.folder} and {other.folder} hold different clips or folds, so they can't be compared. "
                    "Choose another --output, or train again with --run.start_over true."
                )


def plot_comparison(table: pd.DataFrame, png: Path) -> None:
    """Left: accuracy with its 95 % interval for each split, beside always answering the commonest label. Right: points to the first."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(table["experiment"]))
    figure = Figure(figsize=(11, 1.9 + 0.55 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    splits = list(dict.fromkeys(table["split"]))
    for number, split in enumerate(splits):
        part = table[table["split"] == split].set_index("experiment").loc[names]
        place = np.arange(len(names)) + 0.22 * (number - (len(splits) - 1) / 2)
        for axes, (value, low, high) in (
            (left, ("accuracy", "accuracy_low", "accuracy_high")),
            (right, ("points_difference", "points_low", "points_high")),
        ):
            centre = part[value].to_numpy(dtype=float)
            reach = np.abs(np.stack([centre - part[low].to_numpy(dtype=float), part[high].to_numpy(dtype=float) - centre]))
            axes.errorbar(centre, place, xerr=reach, fmt="o", capsize=3, color=COLOURS[split], label=SPLITS[split])
        for height, centre in zip(place, part["accuracy"], strict=True):
            left.annotate(f"{centre:.3f}", (centre, height), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    left.axvline(table["majority"].iloc[0], color="black", linestyle=":", label="always the commonest label")
    right.axvline(0, color="black", linestyle=":")
    left.set(xlim=(0, 1), xlabel="out-of-fold accuracy, 95 % interval", yticks=range(len(names)), yticklabels=names)
    right.set(xlabel=f"points more than {names[0]}, 95 % interval (paired)")
    left.set_ylim(len(names) - 0.4, -0.6)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    _save(figure, png)


def plot_histories(experiments: Sequence[Experiment], png: Path) -> None:
    """Loss and accuracy by epoch, one column per experiment: each fold as a thin line, training grey, validation coloured."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(3.2 * len(experiments), 5.2), layout="constrained")
    grid = figure.subplots(2, len(experiments), squeeze=False, sharex="col")
    for column, experiment in enumerate(experiments):
        for split, run in experiment.runs.items():
            for fold in run.folds:
                history = pd.read_csv(run.folder / f"fold_{fold}" / "history.csv")
                for row, what in enumerate(("loss", "accuracy")):
                    grid[row, column].plot(history["epoch"], history[f"train_{what}"], color="#b0b0b0", linewidth=0.7)
                    grid[row, column].plot(history["epoch"], history[f"valid_{what}"], color=COLOURS[split], linewidth=0.9)
        grid[0, column].set_title(experiment.name)
        grid[1, column].set(xlabel="epoch", ylim=(0, 1))
        grid[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    for row, what in enumerate(("loss", "accuracy")):
        grid[row, 0].set_ylabel(what)
        for axes in grid[row]:
            axes.grid(alpha=0.3)
    lines = [grid[0, 0].plot([], [], color="#b0b0b0", label="training part")[0]]
    lines += [grid[0, 0].plot([], [], color=COLOURS[split], label=f"validation, {SPLITS[split]}")[0] for split in experiments[0].runs]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, fontsize=8)
    _save(figure, png)


def _save(figure: object, png: Path) -> None:
    with atomic_path(png) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


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
            "Accuracy with random folds minus accuracy with speaker-disjoint folds, in points, paired by clip with a 95 % interval "
            "by speaker: what a random split flatters an experiment by.",
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
    by = "speaker" if run.speakers else "clip"
    lines = [
        f"n = {len(run.ids)} clips, each predicted by the fold that hasn't trained on it; always answering the commonest label gives "
        f"{majority_baseline(run.labels):.3f}. Intervals are 95 % bootstraps by {by}; UAR is the mean recall over labels.",
        f"Points are percentage points of accuracy more than {first.name} on the same clips, with a paired bootstrap. An interval that "
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
