"""Charts as plain SVG, drawn with the page's own colours (CSS classes c0 to c9), so that they follow its dark and light theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from unicodedata import east_asian_width

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 240, 46, 12, 12, 34


def line_chart(
    series: Mapping[str, Sequence[float]], label: str, x_label: str, low: float | None = None, high: float | None = None
) -> Markup:
    """Lines over 1, 2, 3 …; names that end in `(train)` are dashed, and a fold's two lines have one colour."""
    values = np.concatenate([np.asarray(line, dtype=float) for line in series.values()])
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    longest = max(len(line) for line in series.values())
    place = _Scale(1, max(longest, 2), low, high if high > low else low + 1)
    colours = {name: number for number, name in enumerate(dict.fromkeys(_colour_key(name) for name in series))}
    parts = [place.axes(x_label, _ticks(1, max(longest, 2), whole=True), _ticks(place.y_low, place.y_high))]
    for name, line in series.items():
        points = " ".join(f"{place.x(x):.1f},{place.y(y):.1f}" for x, y in enumerate(line, 1) if np.isfinite(y))
        dashed = ' stroke-dasharray="4 3"' if name.endswith("(train)") else ""
        colour = colours[_colour_key(name)] % 10
        parts.append(f'<polyline class="line c{colour}" points="{points}"{dashed}><title>{escape(name)}</title></polyline>')
    return _svg(label, "".join(parts))


def interval_chart(table: pd.DataFrame, label: str) -> Markup:
    """One line per row: its accuracy as a dot, its interval as a bar, what always one label reaches as a tick; columns as of slices."""
    rows, step = len(table), 26
    left, width = 170, WIDTH
    inner = width - left - RIGHT
    parts = []
    for number, row in enumerate(table.to_dict("records")):
        y = TOP + number * step + step / 2
        low, high, dot, tick = (left + inner * float(row[key]) for key in ("accuracy_low", "accuracy_high", "accuracy", "majority"))
        text = f"{row['group']}: accuracy {row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}], n {row['n']}"
        parts.append(
            f"<g><title>{escape(text)}</title>"
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(_cut(str(row["group"]), 18))} ({row["n"]})</text>'
            f'<line class="grid" x1="{left}" x2="{width - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<line class="interval c0" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
            f'<line class="base" x1="{tick:.1f}" x2="{tick:.1f}" y1="{y - 6}" y2="{y + 6}"/>'
            f'<circle class="dot c0" cx="{dot:.1f}" cy="{y}" r="4.5"/></g>'
        )
    height = TOP + rows * step + BOTTOM
    for value in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<text x="{left + inner * value}" y="{height - 12}" text-anchor="middle">{value:g}</text>')
    return _svg(label, "".join(parts), height, "wide")  # names at its left: on a phone it scrolls


def reliability_chart(table: pd.DataFrame, label: str) -> Markup:
    """Accuracy against confidence, a bar per bin of `scoring.calibration.reliability`; on the diagonal one is as sure as right."""
    place = _Scale(0, 1, 0, 1)
    parts = [place.axes("confidence", _ticks(0, 1), _ticks(0, 1))]
    for row in table.to_dict("records"):
        left, right, top = place.x(row["low"]), place.x(row["high"]), place.y(row["accuracy"])
        text = f"confidence {row['low']:.2f} to {row['high']:.2f}: accuracy {row['accuracy']:.2f}, {row['n']} clips"
        height = max(place.y(0) - top, 0.5)
        parts.append(
            f'<rect class="bar c0" x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" height="{height:.1f}">'
            f"<title>{escape(text)}</title></rect>"
        )
    parts.append(f'<line class="base" x1="{place.x(0)}" y1="{place.y(0)}" x2="{place.x(1)}" y2="{place.y(1)}" stroke-dasharray="4 3"/>')
    return _svg(label, "".join(parts))


class _Scale:
    """From values to places in the drawing."""

    def __init__(self, x_low: float, x_high: float, y_low: float, y_high: float) -> None:
        self.x_low, self.x_high, self.y_low, self.y_high = x_low, x_high, y_low, y_high

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.y_low) / (self.y_high - self.y_low)

    def axes(self, x_label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
        lines = [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(tick):.1f}" y2="{self.y(tick):.1f}"/>' for tick in y_ticks
        ]
        lines += [f'<text x="{LEFT - 6}" y="{self.y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>' for tick in y_ticks]
        lines += [f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>' for tick in x_ticks]
        return "".join(lines) + f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label)}</text>'


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to seven round numbers from low to high."""
    size = 10 ** np.floor(np.log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (size * factor) <= 6)
    step = max(1, round(step)) if whole else step
    first = np.ceil(low / step) * step
    return [round(float(tick), 10) for tick in np.arange(first, high + step / 1000, step)]


def _colour_key(name: str) -> str:
    return name.removesuffix(" (train)")


def _cut(text: str, letters: int) -> str:
    """No wider than so many Latin letters; those of East Asia are twice as wide."""
    widths = np.cumsum([2 if east_asian_width(letter) in "WF" else 1 for letter in text])
    return text if not len(text) or widths[-1] <= letters else text[: int((widths < letters).sum())] + "…"


def _svg(label: str, content: str, height: float = HEIGHT, kind: str = "narrow") -> Markup:
    head = f'<svg class="{kind}" role="img" viewBox="0 0 {WIDTH} {height:g}" aria-label="{escape(label)}">'
    return Markup(f"{head}{content}</svg>")  # noqa: S704 escaped above
