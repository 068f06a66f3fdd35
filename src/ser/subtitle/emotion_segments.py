"""Segments with their emotions: smoothed over time, neutral below min_confidence; and the file that keeps them for another styling.

`NAME.json` holds everything that the subtitles are made of, one segment per line.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import SubtitlesConfig
from ser.data.labels import LABEL_SETS
from ser.report.tables import without_formulas
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv, write_text
from ser.transcripts import Segment, Word

LABELS = LABEL_SETS["subtitle7"]
NEUTRAL = "neutral"
VERSION = 1


@dataclass(frozen=True)
class EmotionSegment(Segment):
    """A segment and how it is spoken.

    probabilities: of subtitle7's emotions in their order, None where the film has no sound there. emotion: the most probable, confidence
    its probability. style: the emotion that is shown, neutral where the confidence is too low.
    """

    probabilities: tuple[float, ...] | None = None
    emotion: str = NEUTRAL
    confidence: float = 0.0
    style: str = NEUTRAL


def with_emotions(segments: Sequence[Segment], probabilities: np.ndarray, config: SubtitlesConfig) -> list[EmotionSegment]:
    """Join segments and their probabilities (segments, 7; NaN where there is no sound), smoothed over time where asked for."""
    smooth = smoothed(segments, probabilities, config.smoothing)
    joined = []
    for segment, row in zip(segments, smooth, strict=True):
        facts = {part.name: getattr(segment, part.name) for part in dataclasses.fields(Segment)}
        joined.append(EmotionSegment(**facts, probabilities=None if np.isnan(row[0]) else tuple(round(value, 6) for value in row.tolist())))
    return [_judged(segment, config) for segment in joined]


def smoothed(segments: Sequence[Segment], probabilities: np.ndarray, seconds: float) -> np.ndarray:
    """Mean over neighbours in time, weighted by a Gaussian of this width; segments of another known speaker don't count."""
    if seconds <= 0:
        return probabilities
    middles = np.array([(segment.start + segment.end) / 2 for segment in segments])
    speakers = np.array([segment.speaker or "" for segment in segments])
    heard = ~np.isnan(probabilities[:, 0])
    result = probabilities.copy()
    order = np.argsort(middles, kind="stable")
    firsts = np.searchsorted(middles[order], middles - 3 * seconds)
    lasts = np.searchsorted(middles[order], middles + 3 * seconds, side="right")
    for row in np.flatnonzero(heard):
        near = order[firsts[row] : lasts[row]]
        near = near[heard[near] & (speakers[near] == speakers[row])]
        weights = np.exp(-0.5 * ((middles[near] - middles[row]) / seconds) ** 2)
        result[row] = weights @ probabilities[near] / weights.sum()
    return result


def write_segments(path: Path, segments: Sequence[EmotionSegment], source: str, model: str, frame_rate: float | None = None) -> None:
    """Write the JSON from which the subtitles can be styled again, one segment per line. frame_rate: of the film's picture."""
    head = {"version": VERSION, "source": source, "model": model, "frame_rate": frame_rate, "labels": list(LABELS)}
    rows = ",\n".join(json.dumps(_plain(segment), ensure_ascii=False, allow_nan=False) for segment in segments)
    write_text(path, json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "segments": [\n{rows}\n]}}\n')


def read_segments(path: Path, config: SubtitlesConfig) -> tuple[list[EmotionSegment], dict]:
    """The segments of a JSON written by `write_segments`, judged by the config's threshold, and its head. Raises UserError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION or content["labels"] != list(LABELS):
            raise ValueError(f"version {content['version']} with the labels {content['labels']}")
        segments = [_segment(row) for row in content["segments"]]
        rate = content.get("frame_rate")
        head = {key: str(content.get(key, "")) for key in ("source", "model")} | {"frame_rate": None if rate is None else float(rate)}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no segments as `python -m ser.subtitle` writes them ({type(error).__name__}: {error}). A transcript in JSON is given "
            "with its film: python -m ser.subtitle FILM --transcript FILE.json"
        ) from None
    return [_judged(segment, config) for segment in segments], head


def write_table(path: Path, segments: Sequence[EmotionSegment]) -> None:
    """Write the segments as CSV: times, speaker, emotion, confidence, style, text, p_<emotion> …"""
    columns = {name: [getattr(segment, name) for segment in segments] for name in ("start", "end", "speaker", "emotion", "confidence")}
    columns |= {"style": [segment.style for segment in segments], "text": [segment.text for segment in segments]}
    nothing = (math.nan,) * len(LABELS)
    rows = np.array([segment.probabilities or nothing for segment in segments]).reshape(-1, len(LABELS))
    columns |= {f"p_{label}": rows[:, place] for place, label in enumerate(LABELS)}
    write_csv(path, without_formulas(pd.DataFrame(columns)))


def _judged(segment: EmotionSegment, config: SubtitlesConfig) -> EmotionSegment:
    if segment.probabilities is None:
        return dataclasses.replace(segment, emotion=NEUTRAL, confidence=0.0, style=NEUTRAL)
    best = int(np.argmax(segment.probabilities))
    confidence = segment.probabilities[best]
    style = LABELS[best] if confidence >= config.min_confidence else NEUTRAL
    return dataclasses.replace(segment, emotion=LABELS[best], confidence=confidence, style=style)


def _plain(segment: EmotionSegment) -> dict:
    row = {"start": round(segment.start, 3), "end": round(segment.end, 3), "text": segment.text}
    if segment.speaker is not None:
        row["speaker"] = segment.speaker
    row |= {"emotion": segment.emotion, "confidence": segment.confidence, "style": segment.style}
    if segment.probabilities is not None:
        row["probabilities"] = list(segment.probabilities)
    if segment.words:
        row["words"] = [{"start": round(word.start, 3), "end": round(word.end, 3), "word": word.text} for word in segment.words]
    return row


def _segment(row: dict) -> EmotionSegment:
    words = tuple(Word(float(word["start"]), float(word["end"]), str(word["word"])) for word in row.get("words", ()))
    probabilities = row.get("probabilities")
    if probabilities is not None and (len(probabilities) != len(LABELS) or not all(0 <= value <= 1 for value in probabilities)):
        raise ValueError(f"the probabilities {probabilities}")
    start, end = float(row["start"]), float(row["end"])
    if not 0 <= start <= end < math.inf:
        raise ValueError(f"the times {start} and {end}")
    speaker = row.get("speaker")
    return EmotionSegment(
        start,
        end,
        str(row["text"]),
        words,
        None if speaker is None else str(speaker),
        None if probabilities is None else tuple(float(value) for value in probabilities),
    )
