"""SRT and WebVTT: one reader for both, since files of either name are often written in the manner of the other.

No library reads all that people have: pysubs2 1.8.1 takes WebVTT's cue identifiers for text and 100 hours for none; webvtt-py 0.6.0 refuses
a file without its first line and loses the text of a cue with an arrow in it. WebVTT: https://www.w3.org/TR/webvtt1/
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from itertools import pairwise

from ser.data.csv_input import shown
from ser.runtime.errors import UserError

STAMP = r"([-−]?)(?:([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,2})(?:[.,:]([0-9]{1,9}))?"
TIMES = re.compile(rf"\s*(?:[0-9]+\s+)?{STAMP}\s*([^\w\s,:]{{1,4}}\s?>?)\s*{STAMP}(?=\s|$)")
HALF_TIMES = re.compile(r"(?=.*[0-9]:[0-9]+[:.,][0-9])[\s0-9:.,−+-]*-->")
COMMENT = re.compile(r"NOTE(\s|$)|(STYLE|REGION|Region:.*)\s*$")
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
TAGS = re.compile(r"</?[a-zA-Z][^>]*>|</?>|<\d[\d:.]*>")
ASS_CODE = re.compile(r"\{\\[^}]*\}")


@dataclass
class Caption:
    """One cue: its times in seconds, its lines of text without tags, the line of the file that gives the times, and who speaks."""

    start: float
    end: float
    lines: list[str]
    line: int
    speaker: str | None = None


def read_captions(text: str, web: bool) -> list[Caption]:
    """The cues of SRT or (web) WebVTT, in the file's order; those without text too.

    Lines after a blank one still belong to the cue before them, as players read SRT, unless they are the next cue's identifier or a
    comment of WebVTT. Raises UserError for a line of times that can't be read.
    """
    web = web or text.startswith("WEBVTT")
    lines, broken_off = _without_half_times(_undoubled(re.split(r"\r\n|\r|\n", text)))
    times = {place: found for place, line in enumerate(lines) if (found := _times(line, place))}
    starts = list(times)
    gap = _gap_under_number(lines[: starts[0]]) if starts else None
    captions = []
    for place, end in pairwise([*starts, len(lines)]):
        body = lines[place + 1 : end]
        body = _without_identifier(body, gap, web) if end < len(lines) or broken_off else _without_last_number(body, gap)
        captions.append(_caption(times[place], place + 1, _without_comments(body) if web else body, web))
    return captions


def _undoubled(lines: list[str]) -> list[str]:
    """Line ends that were translated twice put a blank line after every line."""
    return lines[::2] if len(lines) > 4 and not any(line.strip() for line in lines[1::2]) else lines


def _without_half_times(lines: list[str]) -> tuple[list[str], bool]:
    """The lines, and whether the file broke off within the times of its last cue: that line is taken out then."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    begins_cue = any(not line.strip() for line in lines[-3:-1]) and not any(map(TIMES.match, lines[-3:]))
    cut = bool(lines) and begins_cue and re.fullmatch(r"[0-9]+:[\s0-9:.,>-]*", lines[-1]) is not None
    return (lines[:-1], True) if cut else (lines, False)


def _times(line: str, place: int) -> tuple[float, float] | None:
    """The times that a line gives; None for a line of text. `12:30 → 13:00` may well be said, so the short forms need the right arrow."""
    if found := TIMES.match(line):
        first, arrow, second = found.groups()[:5], found[6], found.groups()[6:]
        given = [(stamp[1] is not None) + (stamp[4] is not None) for stamp in (first, second)]  # hours and fractions
        if min(given) >= (1 if arrow.startswith("--") else 2):
            return _seconds(first), _seconds(second)
    elif HALF_TIMES.match(line):
        raise UserError(f"line {place + 1}: {shown([line.strip()])} is no line of times; one is 00:00:01,000 --> 00:00:02,500")
    return None


def _seconds(stamp: tuple[str | None, ...]) -> float:
    sign, hours, minutes, seconds, fraction = stamp
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return float(f"{'-' if sign else ''}{whole}.{fraction or 0}")


def _gap_under_number(head: list[str]) -> int | None:
    """How many blank lines stand between the first cue's number and its times; None where cues have no numbers."""
    filled = [place for place, line in enumerate(head) if line.strip()]
    return len(head) - 1 - filled[-1] if filled and head[filled[-1]].strip().isdecimal() else None


def _without_identifier(body: list[str], gap: int | None, web: bool) -> list[str]:
    """The lines between two lines of times without the second one's number or identifier."""
    if gap and not any(line.strip() for line in body[-gap:]):
        body = body[:-gap]
    if not body or not body[-1].strip():
        return body
    # A first line of blanks is how YouTube begins a cue, so it parts nothing.
    parted = len(body) > 1 and not body[-2].strip() and (len(body) > 2 or not body[-2])
    is_number = body[-1].strip().isdecimal() and (parted or gap is not None)
    return body[:-1] if is_number or (web and parted) else body


def _without_last_number(body: list[str], gap: int | None) -> list[str]:
    """The file may break off after the number of a cue that never came."""
    while body and not body[-1].strip():
        body = body[:-1]
    alone = gap is not None and len(body) > 1 and body[-1].strip().isdecimal() and not body[-2].strip()
    return body[:-1] if alone else body


def _without_comments(body: list[str]) -> list[str]:
    """The lines of a WebVTT cue without the blocks after it that are comments, styles or regions; a block ends with an empty line."""
    kept, comment = [], False
    for place, line in enumerate(body):
        begins = place > 0 and not body[place - 1] and COMMENT.match(line) is not None
        comment = bool(line) and (comment or begins)
        if not comment:
            kept.append(line)
    return kept


def _caption(times: tuple[float, float], line: int, body: list[str], web: bool) -> Caption:
    # Braces are text in these, unless they hold an ASS code, which many players obey in SRT too.
    text = ASS_CODE.sub("", "\n".join(body)).replace("\\N", "\n")
    voice = VOICE.search(text)
    text = TAGS.sub("", text)
    lines = [" ".join((html.unescape(part) if web else part).split()) for part in text.split("\n")]
    return Caption(*times, [part for part in lines if part], line, html.unescape(voice[1]).strip() if voice else None)
