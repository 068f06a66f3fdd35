"""Where a model is weak: its accuracy over parts of the clips (length, loudness, speaker, gender, sentence)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ser.report.page.judged import Judged
from ser.scoring.intervals import share_interval, usable_speakers
from ser.scoring.metrics import majority_baseline

LEAST_CLIPS = 5
MOST_GROUPS = 30
QUARTERS = 4
MOST_DIGITS = 7
NUMBERS = (("seconds", "duration", "s"), ("loudness", "loudness", "dB"))
NAMES = (("gender", "gender"), ("speaker", "speaker"), ("text", "sentence"))


def slices(judged: Judged) -> dict[str, pd.DataFrame]:
    """{what the clips are parted by: table of group, n, accuracy, low, high, majority}, groups of at least five clips.

    Numbers are cut into quarters of equally many clips; names stand by accuracy, of over thirty the fifteen worst and best.
    """
    parted = {}
    for title, group_of, order in _partings(judged):
        groups = [(name, np.flatnonzero(group_of == name)) for name in order]
        rows = [_row(judged, name, clips) for name, clips in groups if len(clips) >= LEAST_CLIPS]
        if len(rows) > 1:
            parted[title] = pd.DataFrame(rows) if title in ("duration", "loudness") else _shortened(pd.DataFrame(rows))
    return parted


def _partings(judged: Judged) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """(title, group of each clip, groups in order)"""
    for column, title, unit in NUMBERS:
        if (values := judged.fact(column)) is not None and values.nunique() >= QUARTERS:
            parts = pd.qcut(values.astype(float), QUARTERS, duplicates="drop").cat
            for digits in range(1, MOST_DIGITS):
                names = [f"{part.left:.{digits}f} to {part.right:.{digits}f} {unit}" for part in parts.categories]
                if len(set(names)) == len(names):
                    break
            yield title, np.array([*names, None], dtype=object)[parts.codes], names
    for column, title in NAMES:
        values = judged.fact(column)
        if values is not None and (column != "text" or values.nunique() <= MOST_GROUPS):
            names = np.array([None if pd.isna(value) else str(value) for value in values], dtype=object)
            yield title, names, [name for name in dict.fromkeys(names) if name is not None]


def _row(judged: Judged, name: str, rows: np.ndarray) -> dict:
    speakers, correct = judged.speakers, judged.answers[rows] == judged.labels[rows]
    low, high = share_interval(correct, usable_speakers(None if speakers is None else [speakers[row] for row in rows], len(rows)))
    return {
        "group": name,
        "n": len(rows),
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "majority": majority_baseline(judged.labels[rows]),
    }


def _shortened(table: pd.DataFrame) -> pd.DataFrame:
    table = table.sort_values("accuracy", kind="stable", ignore_index=True)
    half = MOST_GROUPS // 2
    return table if len(table) <= MOST_GROUPS else pd.concat([table.head(half), table.tail(half)], ignore_index=True)
