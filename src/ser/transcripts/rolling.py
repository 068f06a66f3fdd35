"""Captions that roll or grow: each cue repeats lines of the one before it, as YouTube and live captioning write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from ser.transcripts.captions import Caption

PAUSE_SECONDS = 0.5
"""A cue that begins later than this after the one before says its words anew."""
FLASH_SECONDS = 0.1
"""YouTube puts a cue of 10 ms between two, which shows the first one's words again."""
ROLLING_SHARE = 1 / 3
"""So many of a file's cues must repeat the one before, or it doesn't roll: a refrain, or a "yes" said twice, is said twice."""


class _Repeat(NamedTuple):
    lines: int  # first lines of a cue that were the last ones of the cue before
    grown: bool  # the last of them had fewer words there
    certain: bool  # nobody says that twice: it goes on with new words, or is there for a moment only


def without_repeats(captions: Sequence[Caption]) -> list[Caption]:
    """The captions, in the order of their starts, with every line said once, at its first time; unchanged where the file doesn't roll.

    A cue that shows nothing new makes the one before last longer; one that adds words to a line replaces that line.
    """
    repeats = [_repeat(before, after) for before, after in pairwise(captions)]
    found = [repeat for repeat in repeats if repeat.lines]
    if not any(repeat.certain for repeat in found) or len(found) < ROLLING_SHARE * len(repeats):
        return list(captions)
    said = [captions[0]]
    for repeat, caption in zip(repeats, captions[1:], strict=True):
        if repeat.grown:
            said[-1] = replace(said[-1], end=caption.end, lines=[*said[-1].lines[:-1], *caption.lines[repeat.lines - 1 :]])
        elif caption.lines[repeat.lines :]:
            said.append(replace(caption, lines=caption.lines[repeat.lines :]))
        else:
            said[-1] = replace(said[-1], end=max(said[-1].end, caption.end))
    return said


def _repeat(before: Caption, after: Caption) -> _Repeat:
    if before.speaker == after.speaker and after.start <= before.end + PAUSE_SECONDS:
        for size in range(min(len(before.lines), len(after.lines)), 0, -1):
            *same, last = before.lines[-size:]
            if after.lines[: size - 1] == same and after.lines[size - 1].startswith(last):
                grown = after.lines[size - 1] != last
                return _Repeat(size, grown, grown or len(after.lines) > size or after.end - after.start <= FLASH_SECONDS)
    return _Repeat(0, False, False)
