"""From segments to what stands on the screen: tags for the deaf, lines that fit, times that can be read, nothing over anything else.

Times are whole centiseconds from here on: it is what .ass can hold, and an integer can't round to 60.00 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from ser.config import SubtitlesConfig
from ser.data.labels import EMOTIONS
from ser.subtitle.breaks import into_subtitles
from ser.subtitle.emotion_segments import NEUTRAL, EmotionSegment
from ser.subtitle.presets import Rules, rules_of
from ser.subtitle.text import clean, columns, is_korean
from ser.transcripts import Word

FRAME_RATE = 24.0  # frames a second, where the film has no picture
MOST_LATE = 0.5  # seconds by which the rest of a sentence may come late, so that its beginning can be read
JOINED_OVER = 0.5  # seconds of pause over which a subtitle too short to be read is put together with its neighbour


@dataclass(frozen=True)
class Cue:
    """One subtitle. start, end: centiseconds. lines: cleaned text. words: where their times are known and they are these lines' words.

    segment: the place of the (first) segment that it shows (part of).
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
    speaker: str | None = None
    wanted: int = 0  # centiseconds to read it, and the least time

    @property
    def letters(self) -> int:
        return sum(len(line) for line in self.lines)


def lay_out(
    segments: Sequence[EmotionSegment], config: SubtitlesConfig, frame_rate: float | None = None, tags: Mapping[str, str] | None = None
) -> Layout:
    """Make the cues of segments that are in the order of their starts. A segment without text shows its emotion's name.

    frame_rate: of the film, for the gaps between subtitles. tags: what to say of each emotion where it begins (SDH).
    """
    rules = rules_of(config)
    told = _tags(segments, tags or {})
    drafts = [draft for place, segment in enumerate(segments) for draft in _drafts(segment, place, told[place], config, rules)]
    drafts.sort(key=lambda draft: draft.start)
    gap, closes = (math.ceil(100 * frames / (frame_rate or FRAME_RATE) - 1e-9) for frames in (rules.gap_frames, rules.closes_frames))
    if rules.joins:
        drafts = _joined(drafts, segments, rules, gap / 100)
    times, overlapping = _part_times(drafts)
    cues, short, fast = [], 0, 0
    for number, (draft, (start, spoken_until)) in enumerate(zip(drafts, times, strict=True)):
        following = times[number + 1][0] if number + 1 < len(times) else None
        end = _end(start, spoken_until, draft.wanted, following, (gap, closes, round(100 * rules.max_seconds)))
        short += end - start < round(rules.min_seconds * 100)
        fast += end - start < draft.wanted
        of = segments[draft.segment]
        cues.append(Cue(start, end, draft.lines, of.style, of.confidence, draft.segment, draft.speaker, draft.words))
    return Layout(cues, overlapping, short, fast)


def shown_text(segment: EmotionSegment, config: SubtitlesConfig, rules: Rules, tag: str = "") -> str:
    """The text of a segment as it is shown, in one line."""
    text = clean(segment.text)
    if not text:
        emotion = EMOTIONS[segment.style]
        text = f"[{emotion.korean if config.names == 'ko' else emotion.english}]"
    elif tag:
        text = f"[{tag}] {text}"
    if config.speakers and segment.speaker and clean(segment.speaker):
        return rules.named.format(clean(segment.speaker)) + text
    return text


def _tags(segments: Sequence[EmotionSegment], tags: Mapping[str, str]) -> list[str]:
    """What is said of each segment's emotion: something where it is another than the last one shown, and not neutral."""
    before = [NEUTRAL, *(segment.style for segment in segments)]
    return [clean(tags.get(segment.style, "")) if segment.style != last else "" for segment, last in zip(segments, before, strict=False)]


def _end(start: int, spoken_until: int, wanted: int, following: int | None, limits: tuple[int, int, int]) -> int:
    """When a cue ends: with the speech, or later to be read; a gap before the next; limits: gap, gaps to close, longest (centiseconds)."""
    gap, closes, longest = limits
    end = min(max(spoken_until, start + wanted), start + max(longest, 1))
    if following is None:
        return end
    latest = max(start + 1, following - gap)
    closed = gap < following - end < closes and latest - start <= longest
    return latest if closed else min(end, latest)


def _drafts(segment: EmotionSegment, place: int, tag: str, config: SubtitlesConfig, rules: Rules) -> list[_Draft]:
    """A segment as one draft, or as several where its text doesn't fit on the screen at once, or would stand there too long."""
    length = segment.end - segment.start
    screens = _screens(shown_text(segment, config, rules, tag), rules, max(1, math.ceil(length / rules.max_seconds - 1e-6)))
    words = _matching([line for lines in screens for line in lines], segment.words)
    drafts, done, used = [], 0, 0
    total = sum(len(line) for lines in screens for line in lines)
    for lines in screens:
        of_share = sum(len(line.split(" ")) for line in lines)
        own = words[used : used + of_share] if words else ()
        part = sum(map(len, lines))
        start = segment.start + length * done / total
        if own and drafts:
            start = min(max(own[0].start, drafts[-1].start), segment.end)
        end = segment.start + length * (done + part) / total
        drafts.append(_Draft(start, end, tuple(lines), place, own, segment.speaker))
        done, used = done + part, used + of_share
    for draft, after in pairwise(drafts):
        draft.end = min(after.start, draft.words[-1].end) if draft.words and after.words else after.start
    for draft in drafts:
        draft.wanted = _wanted(draft, rules)
    for draft, after in pairwise(drafts):
        lack, spare = draft.wanted / 100 - (after.start - draft.start), after.end - after.start - after.wanted / 100
        if (later := min(lack, spare, MOST_LATE)) > 0:
            after.start += later
            draft.end = max(draft.end, after.start)
    return drafts


def _screens(text: str, rules: Rules, least: int) -> list[list[str]]:
    """A text's lines, subtitle by subtitle; where one is Korean by itself and the whole isn't, all keep to what is narrower."""
    screens = into_subtitles(text, rules.width(is_korean(text)), rules.lines, least)
    if is_korean(text) or not any(is_korean(" ".join(lines)) for lines in screens):
        return screens
    return into_subtitles(text, min(map(rules.width, (True, False))), rules.lines, least)


def _wanted(draft: _Draft, rules: Rules) -> int:
    """Centiseconds that a draft should stay."""
    speed = rules.speed(is_korean(" ".join(draft.lines)))
    return math.ceil(100 * max(rules.min_seconds, draft.letters / speed) - 1e-6)


def _joined(drafts: Sequence[_Draft], segments: Sequence[EmotionSegment], rules: Rules, gap: float) -> list[_Draft]:
    """Drafts of which those that leave no time to be read are put together with the next one, where both fit on the screen."""
    joined: list[_Draft] = []
    for number, draft in enumerate(drafts):
        following = drafts[number + 1].start if number + 1 < len(drafts) else math.inf
        if joined:
            last = joined[-1]
            cramped = (draft.start - gap - last.start) * 100 < last.wanted or (following - gap - draft.start) * 100 < draft.wanted
            if cramped and (both := _together(last, draft, segments, rules)):
                joined[-1] = both
                continue
        joined.append(draft)
    return joined


def _together(first: _Draft, second: _Draft, segments: Sequence[EmotionSegment], rules: Rules) -> _Draft | None:
    """Two drafts as one: what one speaker says as running text, what two say as a line each behind a dash. None where it can't be."""
    same_style = segments[first.segment].style == segments[second.segment].style
    if not same_style or second.start - first.end > JOINED_OVER or second.end - first.start > rules.max_seconds:
        return None
    text, following = (" ".join(draft.lines) for draft in (first, second))
    width = rules.width(is_korean(f"{text} {following}"))
    if first.speaker == second.speaker:
        screens = into_subtitles(f"{text} {following}", width, rules.lines)
        lines = tuple(screens[0]) if len(screens) == 1 else ()
        words = (*first.words, *second.words) if first.words and second.words else ()
    else:
        lines, words = tuple(f"{rules.dash}{line}" for line in (text, following)), ()
        if rules.lines < 2 or first.speaker is None or second.speaker is None or any(columns(line) > width for line in lines):
            return None
    if not lines:
        return None
    both = _Draft(first.start, max(first.end, second.end), lines, first.segment, words)
    both.speaker = first.speaker if first.speaker == second.speaker else None
    both.wanted = _wanted(both, rules)
    return both


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
