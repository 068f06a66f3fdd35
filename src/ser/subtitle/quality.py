"""Which rules a subtitle breaks: what a quality check of those who take it would find, told beforehand.

Not every rule can be kept: who speaks faster than can be read, or without a pause, is subtitled all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from ser.subtitle.cues import FRAME_RATE, Cue
from ser.subtitle.presets import Rules
from ser.subtitle.text import columns, is_korean
from ser.subtitle.theme import Theme


@dataclass(frozen=True)
class Broken:
    """A rule that a cue breaks. cue: its number, from 1. value, allowed: as far as they are numbers."""

    cue: int
    start: float
    rule: str
    value: float
    allowed: float


def broken_rules(cues: Sequence[Cue], rules: Rules, theme: Theme, frame_rate: float | None = None) -> list[Broken]:
    """Every rule that every cue breaks, in the order of the cues. frame_rate: of the film."""
    found = []
    for number, cue in enumerate(cues, 1):
        after = cues[number] if number < len(cues) else None
        for rule, value, allowed in _of_cue(cue, after, rules, theme, frame_rate or FRAME_RATE):
            found.append(Broken(number, cue.start / 100, rule, round(value, 3), round(allowed, 3)))
    return found


def as_table(broken: Sequence[Broken]) -> pd.DataFrame:
    """One row per broken rule: cue, start, rule, value, allowed."""
    return pd.DataFrame([vars(row) for row in broken], columns=["cue", "start", "rule", "value", "allowed"])


def _of_cue(cue: Cue, after: Cue | None, rules: Rules, theme: Theme, frame_rate: float) -> Iterator[tuple[str, float, float]]:
    korean = is_korean(" ".join(cue.lines))
    if len(cue.lines) > rules.lines:
        yield "lines on the screen", len(cue.lines), rules.lines
    widest = max(map(columns, cue.lines))
    if widest > rules.width(korean):
        yield "columns in a line", widest, rules.width(korean)
    seconds = (cue.end - cue.start) / 100
    speed = sum(map(len, cue.lines)) / seconds
    if speed > rules.speed(korean) + 1e-6:
        yield "letters a second", speed, rules.speed(korean)
    if cue.end - cue.start < round(100 * rules.min_seconds):
        yield "shortest time", seconds, rules.min_seconds
    if cue.end - cue.start > round(100 * rules.max_seconds):
        yield "longest time", seconds, rules.max_seconds
    if korean and not rules.korean_italics and theme.looks[cue.style].italic:
        yield "italics in Korean", 1, 0
    if after is not None:
        yield from _gap(after.start - cue.end, rules, frame_rate)


def _gap(gap: int, rules: Rules, frame_rate: float) -> Iterator[tuple[str, float, float]]:
    """gap: centiseconds to the next cue."""
    least, closes = (math.ceil(100 * frames / frame_rate - 1e-9) for frames in (rules.gap_frames, rules.closes_frames))
    if gap < least:
        yield "frames to the next one", gap * frame_rate / 100, rules.gap_frames
    elif least < gap < closes:
        yield "frames to the next one: closed or longer", gap * frame_rate / 100, rules.closes_frames
