"""Transcripts that somebody else made: subtitles (SRT, VTT, ASS) and WhisperX JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ser.data.csv_input import shown
from ser.data.text_input import decode_text, visible
from ser.runtime.errors import UserError
from ser.transcripts.captions import read_captions
from ser.transcripts.rolling import without_repeats
from ser.transcripts.segments import Dropped, Segment, Transcript, Word

KINDS = (".srt", ".vtt", ".ass", ".ssa", ".json")


def read_transcript(path: str | Path) -> Transcript:
    """What an SRT, VTT, ASS or WhisperX JSON file says (UTF-8, UTF-16 with its mark, or cp949), in the order of the starts.

    Segments without text are left out; those of a JSON without times are told in `dropped`. Rolling captions are said once. Raises
    UserError for a file that is none of these, holds no segment, or has impossible times.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise UserError(f"{path}: a transcript is one of {', '.join(KINDS[:-1])} or .json (as WhisperX writes it).")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    text = visible(decode_text(path))
    dropped: list[Dropped] = []
    if kind == ".json":
        segments = _read_json(path, text, dropped)
    else:
        segments = _read_ass(path, text, kind) if kind in (".ass", ".ssa") else _read_captions(path, text, kind)
    segments = [segment for segment in segments if segment.text]
    if not segments:
        raise UserError(f"{path}: it holds no text with a start and an end.")
    for segment in segments:
        if not 0 <= segment.start <= segment.end < math.inf:
            raise UserError(
                f"{path}: {shown([segment.text])} stands from {segment.start:g} to {segment.end:g} s; "
                "times must not be negative, and no end before its start. Shift the transcript, or take that part out."
            )
    return Transcript(tuple(sorted(segments, key=lambda segment: segment.start)), dropped=tuple(dropped))


def _read_captions(path: Path, text: str, kind: str) -> list[Segment]:
    try:
        captions = [caption for caption in read_captions(text, kind == ".vtt") if caption.lines]
    except UserError as error:
        raise UserError(f"{path}, {error}") from None
    captions = without_repeats(sorted(captions, key=lambda caption: caption.start))
    return [Segment(caption.start, caption.end, " ".join(caption.lines), speaker=caption.speaker) for caption in captions]


def _read_ass(path: Path, text: str, kind: str) -> list[Segment]:
    import pysubs2

    try:
        file = pysubs2.SSAFile.from_string(text, format_=kind.removeprefix("."))
    except (pysubs2.exceptions.Pysubs2Error, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: not readable as {kind.removeprefix('.').upper()} ({error}).") from None
    parts = [part for part in file if not part.is_comment and not part.is_drawing]
    return [Segment(part.start / 1000, part.end / 1000, " ".join(part.plaintext.split()), speaker=part.name or None) for part in parts]


def _read_json(path: Path, text: str, dropped: list[Dropped]) -> list[Segment]:
    try:
        content = json.loads(text)
        rows = content["segments"] if isinstance(content, dict) else content
        segments = [_segment(row, dropped) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a transcript as WhisperX writes it ({type(error).__name__}: {error}). "
            'It must hold {"segments": [{"start": 0.0, "end": 1.5, "text": "…"}, …]}.'
        ) from None
    if dropped and not any(segments):
        raise UserError(f"{path}: none of its {len(dropped)} segments has a start and an end; align it first, as WhisperX does.")
    return [segment for segment in segments if segment]


def _segment(row: dict, dropped: list[Dropped]) -> Segment | None:
    """A segment; None where neither it nor a word of it has times: then it is told in `dropped`."""
    words = [
        Word(float(word["start"]), float(word["end"]), str(word.get("word", word.get("text", ""))).strip())
        for word in row.get("words") or ()
        # WhisperX gives no times to what it can't align, e.g. numbers.
        if _is_number(word.get("start")) and _is_number(word.get("end"))
    ]
    text = " ".join(str(row["text"] or "").split())
    start = row["start"] if row.get("start") is not None else min((word.start for word in words), default=None)
    end = row["end"] if row.get("end") is not None else max((word.end for word in words), default=None)
    if start is None or end is None:
        dropped.append(Dropped(math.nan, math.nan, text, "no times in the transcript"))
        return None
    start, end = float(start), float(end)
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"the times {start}, {end}")
    speaker = row.get("speaker")
    return Segment(start, end, text, tuple(words), None if speaker is None else str(speaker))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
