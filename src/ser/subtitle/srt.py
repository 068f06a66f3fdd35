"""Writing .srt (plain, and with <font color>) and .vtt (WebVTT, with a class per emotion)."""

from __future__ import annotations

from collections.abc import Sequence

from ser.subtitle.cues import Cue
from ser.subtitle.text import clean, inert_in_srt, inert_in_vtt
from ser.subtitle.theme import LABELS, Theme


def srt_text(cues: Sequence[Cue], theme: Theme | None) -> str:
    """The whole .srt file: coloured by the theme, or plain without one."""
    blocks = []
    for number, cue in enumerate(cues, 1):
        lines = cue.lines
        if theme is None and number == len(cues) and lines[-1].isdigit():
            lines = (" ".join(lines),)  # readers take a last line of digits for the number of a subtitle that doesn't come
        text = "\n".join(inert_in_srt(line) for line in lines)
        if theme is not None:
            text = f'<font color="{theme.looks[cue.style].colour.lower()}">{text}</font>'
        blocks.append(f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{text}\n")
    return "\n".join(blocks)


def vtt_text(cues: Sequence[Cue], theme: Theme | None) -> str:
    """The whole .vtt file: with a class per emotion and its style, or plain without a theme."""
    blocks = ["WEBVTT\n"]
    if theme is not None:
        rules = "\n".join(f"::cue(.{label}) {{ {_css(theme, label)} }}" for label in LABELS)
        blocks = [f"WEBVTT\n\nSTYLE\n{rules}\n"]
    for cue in cues:
        text = "\n".join(inert_in_vtt(line) for line in cue.lines)
        if theme is not None:
            text = f"<c.{cue.style}>{text}</c>"
        if cue.speaker is not None and clean(cue.speaker):
            text = f"<v {inert_in_vtt(clean(cue.speaker))}>{text}</v>"
        blocks.append(f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)


def _css(theme: Theme, label: str) -> str:
    look = theme.looks[label]
    weight = " font-weight: bold;" * look.bold + " font-style: italic;" * look.italic
    return f"color: {look.colour.lower()};{weight}"


def _time(centiseconds: int, mark: str) -> str:
    seconds, rest = divmod(centiseconds, 100)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{rest:02d}0"
