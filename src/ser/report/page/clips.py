"""The clips that a page lets one hear: which ones (surest mistakes, close calls; how many), and what is shown
beside each."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd

from ser.report.page.judged import Judged
from ser.report.page.sound import as_mp3, as_spectrogram

SHOWN = 12
"""Clips in each list."""
PER_CELL = 3
"""Clips to hear behind a cell of the confusion matrix, the surest first."""
MOST_BYTES = 7_000_000
"""Of sounds and spectrograms in one page, which stays under 10 MB with them: some 250 clips of four seconds, or a hundred of fifteen."""
SOUNDS_AT_ONCE = 4


def lists(judged: Judged) -> dict[str, list[int]]:
    """{title: rows to hear}: wrong answers, the surest first (likely label errors, or what the model can't hear), and close calls."""
    return {
        "The surest mistakes": surest_mistakes(judged)[:SHOWN].tolist(),
        "The least sure clips": least_sure(judged)[:SHOWN].tolist(),
    }


def surest_mistakes(judged: Judged) -> np.ndarray:
    """Rows of wrong answers, the surest first."""
    wrong = np.flatnonzero(judged.answers != judged.labels)
    return wrong[np.argsort(-judged.confidence[wrong], kind="stable")]


def least_sure(judged: Judged) -> np.ndarray:
    """All rows, those first whose two likeliest labels are closest."""
    if judged.probabilities.shape[1] < 2:
        return np.arange(len(judged.ids))
    two = np.sort(judged.probabilities, axis=1)[:, -2:]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")


def cells(judged: Judged) -> dict[str, list[int]]:
    """{"true,answered": rows to hear}, of each cell of the confusion matrix its surest clips; mistakes come before hits."""
    order = np.argsort(-judged.confidence, kind="stable")
    of_cell: dict[str, list[int]] = {}
    for row in order:
        of_cell.setdefault(f"{judged.labels[row]},{judged.answers[row]}", []).append(int(row))
    return {cell: rows[:PER_CELL] for cell, rows in sorted(of_cell.items(), key=lambda item: _is_hit(item[0]))}


def _is_hit(cell: str) -> bool:
    true, answered = cell.split(",")
    return true == answered


def shown_clips(judged: Judged, lists: Iterable[Iterable[int]]) -> dict[int, dict]:
    """{row: what the page shows of the clip} for the rows of all lists, sounds for the first of them, up to MOST_BYTES."""
    rows = list(dict.fromkeys(int(row) for rows in lists for row in rows))

    sounds, size = {}, 0
    with ThreadPoolExecutor(SOUNDS_AT_ONCE) as pool:  # the encoder of mp3 lets other threads run
        for start in range(0, len(rows), SOUNDS_AT_ONCE):
            some = rows[start : start + SOUNDS_AT_ONCE]
            sounds |= dict(zip(some, pool.map(partial(_sound, judged), some), strict=True))
            size += sum(len(part) for row in some for part in sounds[row].values())
            if size > MOST_BYTES:
                break
    return {row: _described(judged, row) | sounds.get(row, {}) for row in rows}


def _described(judged: Judged, row: int) -> dict:
    of_clip = {name: judged.facts.iloc[row][name] for name in judged.facts.columns} if len(judged.facts.columns) else {}
    best = np.argsort(-judged.probabilities[row], kind="stable")[:3]
    return {
        "id": judged.ids[row],
        "true": int(judged.labels[row]),
        "answer": int(judged.answers[row]),
        "top": [[int(label), round(float(judged.probabilities[row, label]), 3)] for label in best],
        "p_true": round(float(judged.probabilities[row, judged.labels[row]]), 3),
        "about": ", ".join(_facts_as_words(of_clip)),
        "text": str(of_clip["text"]) if _known(of_clip.get("text")) else "",
    }


def _facts_as_words(of_clip: dict) -> list[str]:
    words = [f"speaker {of_clip['speaker']}"] if _known(of_clip.get("speaker")) else []
    words += [str(of_clip["gender"])] if _known(of_clip.get("gender")) else []
    words += [f"{of_clip['seconds']:.1f} s"] if _known(of_clip.get("seconds")) else []
    return words + ([f"{of_clip['loudness']:.0f} dB"] if _known(of_clip.get("loudness")) else [])


def _known(value: object) -> bool:
    return value is not None and not pd.isna(value) and value != ""


def _sound(judged: Judged, row: int) -> dict:
    if judged.wave is None:
        return {}
    wave = judged.wave(judged.ids[row])
    if wave is None:
        return {}
    return {"mp3": as_mp3(wave), "spectrogram": as_spectrogram(wave)}
