"""Words to their time: which stretch of speech each word belongs to, and segments that end where the speech does.

Whisper's word times follow its attention and stray by tenths of a second, above all at pauses, over which it stretches the next word back:
the end of a word is surer than its start. Voice activity detection knows to 32 ms when speech begins and ends, but not what is said.
Together: the words keep their order, and each stretch of speech gets those that lie nearest to it and are as many as can be said in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ser.transcripts.segments import Segment, Word

RATE_WEIGHT = 0.5  # of a second of speech too much or too little for its letters, against a second between a word and its speech
CORE = 0.2  # seconds at the end of a word in whose middle it is surely spoken
FURTHEST = 1.0  # seconds between a word and its speech from which on more says nothing more
MID_SENTENCE = 0.3  # seconds: what it costs to part words at a pause where no sentence ends
SHORT_PAUSE = 0.2  # seconds; a segment ends at such a pause where a sentence does
LONG_PAUSE = 0.5  # seconds; a segment ends at such a pause in any case
SHORTEST_WORD = 0.04  # seconds
SENTENCE_END = re.compile(r"[.?!…。？！][\"'”’」』)\]]*$")


@dataclass(frozen=True)
class Heard:
    """A word as speech to text tells it: its time is a guess. group: the number of the sentence that it came in."""

    word: Word
    group: int = 0


def place_words(words: Sequence[Heard], spans: Sequence[tuple[float, float]]) -> list[Segment]:
    """The segments of words (in the order in which they are said) on spans of speech (start, end) in seconds, in order.

    Every word gets a time within one span. A segment begins and ends with a span's speech, or, where a sentence ends within a span, with
    its words.
    """
    if not words or not spans:
        return []
    spans_of = assign(words, spans)
    timed: list[Heard] = []
    for number, span in enumerate(spans):
        timed += _within([word for word, own in zip(words, spans_of, strict=True) if own == number], span)
    cuts = [0, *(place for place in range(1, len(words)) if _parts(timed, spans_of, spans, place)), len(words)]
    segments = []
    for first, last in pairwise(cuts):
        start, end = timed[first].word.start, timed[last - 1].word.end
        if first == 0 or spans_of[first - 1] != spans_of[first]:
            start = spans[spans_of[first]][0]
        if last == len(words) or spans_of[last] != spans_of[last - 1]:
            end = spans[spans_of[last - 1]][1]
        own = tuple(heard.word for heard in timed[first:last])
        segments.append(Segment(start, end, " ".join(word.text for word in own), own))
    return segments


def assign(words: Sequence[Heard], spans: Sequence[tuple[float, float]]) -> list[int]:
    """The span of each word, never falling: the cheapest way by distance in time, number of letters and ends of sentences.

    Dynamic programming: cost[i] is that of the first i words on the spans so far.
    """
    if not words:
        return []
    count = len(words)
    letters = np.cumsum([0, *(letters_in(heard.word.text) for heard in words)])
    seconds = np.array([end - start for start, end in spans])
    pace = letters[-1] / seconds.sum()
    places = np.array([heard.word.end - min(heard.word.end - heard.word.start, CORE) / 2 for heard in words])
    cost = np.where(np.arange(count + 1) == 0, 0.0, np.inf)
    origins = []
    for number, (start, end) in enumerate(spans):
        apart = np.cumsum([0.0, *np.clip(np.maximum(start - places, places - end), 0.0, FURTHEST)])
        strayed = apart[None, :] - apart[:, None]
        misfit = np.abs((letters[None, :] - letters[:, None]) / max(pace, 1e-9) - seconds[number]) * RATE_WEIGHT
        total = np.where(np.tri(count + 1, dtype=bool).T, cost[:, None] + strayed + misfit, np.inf)
        origins.append(total.argmin(axis=0))
        cost = total.min(axis=0)
        if number + 1 < len(spans):
            cost = cost + _broken_sentences(words)
    assigned, last = [0] * count, count
    for number in range(len(spans) - 1, -1, -1):
        first = int(origins[number][last])
        assigned[first:last] = [number] * (last - first)
        last = first
    return assigned


def letters_in(text: str) -> int:
    """Letters and digits: what takes time to say. At least one."""
    return max(1, sum(map(str.isalnum, text)))


def _broken_sentences(words: Sequence[Heard]) -> np.ndarray:
    """(words + 1,) what it costs to part before each word."""
    ends = [bool(SENTENCE_END.search(heard.word.text)) for heard in words]
    return np.array([0.0, *((0.0 if end else MID_SENTENCE) for end in ends[:-1]), 0.0])


def _within(words: Sequence[Heard], span: tuple[float, float]) -> list[Heard]:
    """The words of one span with times in it: their own where they fit, else by their letters."""
    start, end = span
    times = [(min(max(heard.word.start, start), end), min(max(heard.word.end, start), end)) for heard in words]
    rising = all(after[0] >= before[1] - 1e-6 for before, after in pairwise(times))
    if not rising or any(last - first < SHORTEST_WORD for first, last in times):
        edges = np.cumsum([0, *(letters_in(heard.word.text) for heard in words)])
        bounds = (start + (end - start) * edges / edges[-1]).tolist() if words else []
        times = list(pairwise(bounds))
    return [replace(heard, word=Word(first, last, heard.word.text)) for heard, (first, last) in zip(words, times, strict=True)]


def _parts(words: Sequence[Heard], spans_of: Sequence[int], spans: Sequence[tuple[float, float]], place: int) -> bool:
    """Whether a segment ends before this word."""
    ends = bool(SENTENCE_END.search(words[place - 1].word.text))
    if spans_of[place] == spans_of[place - 1]:
        return ends and words[place].group != words[place - 1].group
    pause = spans[spans_of[place]][0] - spans[spans_of[place - 1]][1]
    return pause >= (SHORT_PAUSE if ends else LONG_PAUSE)
