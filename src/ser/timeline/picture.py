"""The picture of a timeline of emotions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.report.pictures import save_figure


def plot_timeline(windows: pd.DataFrame, png: str | Path, title: str) -> None:
    """Probabilities over time, one band per label, stacked; grey where a window was silent.

    windows: as in `ser.timeline.windows.Timeline`, at least one.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = [name.removeprefix("p_") for name in windows.columns if name.startswith("p_")]
    middle = ((windows["start"] + windows["end"]) / 2).to_numpy()
    probabilities = windows[[f"p_{name}" for name in names]].to_numpy(dtype=float)
    unit, seconds_per_unit = ("minutes", 60) if windows["end"].max() > 180 else ("seconds", 1)
    colours = colormaps["tab20"].colors
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#e6e6e6")
    # Steps around each window's middle: between two windows nothing was measured.
    edges = np.concatenate([windows["start"].to_numpy()[:1], (middle[1:] + middle[:-1]) / 2, windows["end"].to_numpy()[-1:]])
    bottom = np.zeros(len(windows))
    for place, name in enumerate(names):
        top = bottom + np.nan_to_num(probabilities[:, place])
        colour = colours[place % len(colours)]
        axes.stairs(top, edges / seconds_per_unit, baseline=bottom, fill=True, color=colour, label=name, rasterized=True)
        bottom = top
    axes.set(xlim=(edges[0] / seconds_per_unit, edges[-1] / seconds_per_unit), ylim=(0, 1), xlabel=unit, ylabel="probability")
    axes.set_title(title, parse_math=False)
    figure.legend(loc="outside right center", fontsize=8, reverse=True)
    save_figure(figure, png)
