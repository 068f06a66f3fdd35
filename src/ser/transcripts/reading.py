"""Transcripts that somebody else made: subtitles (SRT, VTT, ASS) and WhisperX JSON."""

from __future__ import annotations

import html
import json
import math
import re
from pathlib import Path

from ser.data.csv_input import decode_text, shown
from ser.runtime.errors import UserError
from ser.transcripts.segments import Segment, Word

SUBTITLES = {".srt": "srt", ".vtt": "vtt", ".ass": "ass", ".ssa": "ssa"}
LONGEST_SECONDS = 360_000.0  # 100 hours, the longest time an SRT can hold
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")


def read_transcript(path: str | Path) -> list[Segment]:
    """The segments of an SRT, VTT, ASS or WhisperX JSON file (UTF-8, with or without BOM, or cp949), in the order of their starts.

    Empty segments are left out. Raises UserError for a file that is none of these, holds no segment, or has impossible times.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUBTITLES and kind != ".json":
        raise UserError(f"{path}: a transcript is one of {', '.join(SUBTITLES)} or .json (as WhisperX writes it).")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    text = decode_text(path)
    segments = _read_json(path, text) if kind == ".json" else _read_subtitles(path, text, SUBTITLES[kind])
    segments = [segment for segment in segments if segment.text]
    if not segments:
        raise UserError(f"{path}: it holds no text with a start and an end.")
    for segment in segments:
        if not 0 <= segment.start <= segment.end <= LONGEST_SECONDS:
            raise UserError(
                f"{path}: {shown([segment.text])} stands from {segment.start:g} to {segment.end:g} s; "
                "times must not be negative, and no end before its start."
            )
    return sorted(segments, key=lambda segment: segment.start)


def _read_subtitles(path: Path, text: str, kind: str) -> list[Segment]:
    import pysubs2

    if kind == "vtt":
        text = re.sub(r"(?ms)^(?:STYLE|NOTE|REGION)\b.*?(?:\n\s*\n|\Z)", "\n", text.replace("\r\n", "\n"))
    try:
        # Tags of other kinds are taken out here, because pysubs2 would lose the voices of a VTT with them.
        options = {"keep_html_tags": True} if kind in ("srt", "vtt") else {}
        events = [
            event for event in pysubs2.SSAFile.from_string(text, format_=kind, **options) if not event.is_comment and not event.is_drawing
        ]
    except (pysubs2.exceptions.Pysubs2Error, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: not readable as {kind.upper()} ({error}).") from None
    segments = []
    for event in events:
        shown_text, speaker = event.plaintext, event.name or None
        if kind in ("srt", "vtt"):
            # Braces are text in these, unless they hold an ASS code, which many players obey in SRT too.
            shown_text = re.sub(r"\{\\[^}]*\}", "", event.text).replace("\\N", " ")
            if voice := VOICE.search(shown_text):
                speaker = html.unescape(voice[1]).strip()
            shown_text = re.sub(r"</?[a-zA-Z][^>]*>|</?>|<\d[\d:.]*>", "", shown_text)
        if kind == "vtt":
            shown_text = html.unescape(shown_text)
        segments.append(Segment(event.start / 1000, event.end / 1000, " ".join(shown_text.split()), speaker=speaker))
    return segments


def _read_json(path: Path, text: str) -> list[Segment]:
    try:
        content = json.loads(text)
        rows = content["segments"] if isinstance(content, dict) else content
        return [_segment(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a transcript as WhisperX writes it ({type(error).__name__}: {error}). "
            'It must hold {"segments": [{"start": 0.0, "end": 1.5, "text": "…"}, …]}.'
        ) from None


def _segment(row: dict) -> Segment:
    words = [
        Word(float(word["start"]), float(word["end"]), str(word.get("word", word.get("text", ""))).strip())
        for word in row.get("words") or ()
        # WhisperX gives no times to what it can't align, e.g. numbers.
        if _is_number(word.get("start")) and _is_number(word.get("end"))
    ]
    start, end = float(row["start"]), float(row["end"])
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"the times {start}, {end}")
    speaker = row.get("speaker")
    return Segment(start, end, " ".join(str(row["text"]).split()), tuple(words), None if speaker is None else str(speaker))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
