"""The pictures of a comparison: accuracies with their intervals, and histories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.compare_experiments.experiments import SPLITS, Experiment
from ser.report.pictures import save_figure

COLOURS = {"speaker": "#1f77b4", "text": "#2ca02c", "stratified": "#ff7f0e"}


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
    save_figure(figure, png)


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
    save_figure(figure, png)
