"""From segments to what stands on the screen: lines that fit, times that can be read, nothing over anything else.

Times are whole centiseconds from here on: it is what .ass can hold, and an integer can't round to 60.00 seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from ser.config import SubtitlesConfig
from ser.data.labels import EMOTIONS
from ser.subtitle.emotion_segments import EmotionSegment
from ser.subtitle.text import balanced, clean, is_korean
from ser.transcripts import Word


@dataclass(frozen=True)
class Cue:
    """One subtitle. start, end: centiseconds. lines: cleaned text. words: where their times are known and they are these lines' words.

    segment: the place of the segment that it shows (part of).
    """

    start: int
    end: int
    lines: tuple[str, ...]
    style: str
    confidence: float
    segment: int
    speaker: str | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Layout:
    """All cues in the order of their starts, none over another; and how many segments had to be shortened for the next one, cues that
    can't stay their least time, and cues faster than the reading speed."""

    cues: list[Cue]
    overlapping: int
    short: int
    fast: int


@dataclass
class _Draft:
    start: float
    end: float
    lines: tuple[str, ...]
    segment: int
    words: tuple[Word, ...]
    wanted: int = 0  # centiseconds to read it, and the least time

    @property
    def letters(self) -> int:
        return sum(len(line) for line in self.lines)


def lay_out(segments: Sequence[EmotionSegment], config: SubtitlesConfig) -> Layout:
    """Make the cues of segments that are in the order of their starts. A segment without text shows its emotion's name."""
    drafts = [draft for place, segment in enumerate(segments) for draft in _drafts(segment, place, config)]
    drafts.sort(key=lambda draft: draft.start)
    times, overlapping = _part_times(drafts)
    cues, short, fast = [], 0, 0
    for number, (draft, (start, end)) in enumerate(zip(drafts, times, strict=True)):
        latest = times[number + 1][0] if number + 1 < len(times) else start + draft.wanted
        end = max(end, min(start + draft.wanted, latest))
        short += end - start < round(config.min_seconds * 100)
        fast += end - start < draft.wanted
        of = segments[draft.segment]
        cues.append(Cue(start, end, draft.lines, of.style, of.confidence, draft.segment, of.speaker, draft.words))
    return Layout(cues, overlapping, short, fast)


def shown_text(segment: EmotionSegment, config: SubtitlesConfig) -> str:
    """The text of a segment as it is shown, in one line."""
    text = clean(segment.text)
    if not text:
        emotion = EMOTIONS[segment.style]
        text = f"[{emotion.korean if config.names == 'ko' else emotion.english}]"
    if config.speakers and segment.speaker and clean(segment.speaker):
        return f"{clean(segment.speaker)}: {text}"
    return text


def _drafts(segment: EmotionSegment, place: int, config: SubtitlesConfig) -> list[_Draft]:
    """A segment as one draft, or as several where its text doesn't fit on the screen at once."""
    text = shown_text(segment, config)
    korean = is_korean(text)
    width = int(config.korean_columns if korean else config.columns)
    lines = balanced(text, width)
    count = int(config.lines)
    # Equal shares: three lines are two and one, not two full ones and a crumb.
    screens = -(-len(lines) // count)
    shares = [lines[len(lines) * k // screens : len(lines) * (k + 1) // screens] for k in range(screens)]
    words = _matching(lines, segment.words)
    drafts, done, used = [], 0, 0
    total = sum(map(len, lines))
    for share in shares:
        of_share = sum(len(line.split(" ")) for line in share)
        own = words[used : used + of_share] if words else ()
        part = sum(map(len, share))
        length = segment.end - segment.start
        start = segment.start + length * done / total
        if own and drafts:
            start = min(max(own[0].start, drafts[-1].start), segment.end)
        end = segment.start + length * (done + part) / total
        drafts.append(_Draft(start, end, tuple(share), place, own))
        done, used = done + part, used + of_share
    for draft, after in pairwise(drafts):
        draft.end = after.start
    speed = config.korean_letters_per_second if korean else config.letters_per_second
    for draft in drafts:
        draft.wanted = round(100 * max(config.min_seconds, draft.letters / speed))
    return drafts


def _matching(lines: Sequence[str], words: tuple[Word, ...]) -> tuple[Word, ...]:
    """A word with its times for each word of the lines, if these are the same (after a speaker's name); else none."""
    shown = [word for line in lines for word in line.split(" ")]
    before = len(shown) - len(words)
    rising = all(word.start <= after.start for word, after in pairwise(words))
    if not words or not rising or [clean(word.text) for word in words] != shown[before:]:
        return ()
    return (*(Word(words[0].start, words[0].start, name) for name in shown[:before]), *words)


def _part_times(drafts: Sequence[_Draft]) -> tuple[list[tuple[int, int]], int]:
    """Start and end of each draft in centiseconds: at least one long, starts rising, no end after the next start.

    Where speech overlaps, the earlier cue ends when the next begins; those that begin together share the time by their length.
    """
    times: list[tuple[int, int]] = []
    overlapping = free = 0
    groups = [(start, list(group)) for start, group in groupby(drafts, key=lambda draft: round(draft.start * 100))]
    for number, (start, group) in enumerate(groups):
        start = max(start, free)
        spoken_until = max(round(draft.end * 100) for draft in group)
        after = groups[number + 1][0] if number + 1 < len(groups) else spoken_until
        overlapping += len(group) if len(group) > 1 else spoken_until > after
        free = max(min(spoken_until, after), start + len(group))
        shares = list(accumulate((max(1, draft.letters) for draft in group), initial=0))
        edges = [start + place + (free - start - len(group)) * share // shares[-1] for place, share in enumerate(shares)]
        times += pairwise(edges)
    return times, overlapping
