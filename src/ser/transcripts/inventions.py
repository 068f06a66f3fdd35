"""What speech to text invents: sentences where nobody speaks, stock phrases of its training data, the same words again and again."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.audio.status import SILENCE_DB, levels
from ser.transcripts.segments import Dropped, Segment

LEAST_SPEECH = 0.1  # share of a sentence in which voice activity detection must hear speech
REPEATS, SHORT_REPEATS = 4, 8  # times that long (LONG_UNIT letters) and short words must stand in a row to count as a loop
LONG_UNIT = 8
MOST_ON_A_STRETCH = 2  # times that a run of words may stand on one stretch of speech
UNSURE = -0.7  # mean log probability per token below which a stock phrase isn't believed
# How videos end that Whisper was trained on: said by it over noise and music (Koenecke et al. 2024 list the English ones).
STOCK = re.compile(
    r"(시청해\s*주셔서|구독과?\s*좋아요|좋아요와?\s*구독|자막\s*(제공|by)|다음\s*영상에서|한글\s*자막|MBC\s*뉴스|"
    r"thank(s| you)( so much| very much)? for watching|subtitles? by|amara\.org|(like and|please) subscribe|see you (in the )?next)",
    re.IGNORECASE,
)


def drop_invented(
    segments: Sequence[Segment], samples: np.ndarray, spans: Sequence[tuple[int, int]], sureness: Sequence[float] | None = None
) -> tuple[list[int], list[Dropped]]:
    """Which sentences (their places) stand on speech, and what was dropped of the others.

    samples: int16 (T,) of the whole recording. spans: where there is speech, in samples. sureness: mean log probability of each sentence.
    """
    kept, dropped = [], []
    starts, ends = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    for place, segment in enumerate(segments):
        start, end = (min(max(0, round(time * SAMPLE_RATE)), len(samples)) for time in (segment.start, segment.end))
        speech = int(np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None).sum())
        if not segment.text:
            reason = "no text"
        elif speech < LEAST_SPEECH * max(end - start, 1):
            reason = "no speech there"
        elif levels(np.asarray(samples[start:end]))[0] < SILENCE_DB:
            reason = "silence"
        elif sureness is not None and sureness[place] < UNSURE and STOCK.search(segment.text):
            reason = "a stock phrase of the model, unsure"
        else:
            kept.append(place)
            continue
        dropped.append(Dropped(segment.start, segment.end, segment.text, reason))
    return kept, dropped


def without_loops(words: Sequence[str], spans_of: Sequence[int]) -> list[int]:
    """The places of the words that stay when a run of words that is invented again and again is kept once.

    spans_of: the stretch of speech that each word stands on. Who truly repeats a sentence says it on new speech each time.
    """
    plain = [re.sub(r"\W", "", word).casefold() for word in words]
    kept, place = [], 0
    while place < len(words):
        size, times = _loop(plain, place)
        stretches = {spans_of[place + size * number] for number in range(times)}
        said = size if times > MOST_ON_A_STRETCH * len(stretches) else size * times
        kept += range(place, place + said)
        place += size * times
    return kept


def _loop(plain: Sequence[str], place: int) -> tuple[int, int]:
    """How many words are repeated from here, and how often they stand there: (1, 1) where there is no loop."""
    for size in range(1, (len(plain) - place) // REPEATS + 1):
        unit = plain[place : place + size]
        times = 1
        while plain[place + size * times : place + size * (times + 1)] == unit:
            times += 1
        if times >= (REPEATS if len("".join(unit)) >= LONG_UNIT else SHORT_REPEATS):
            return size, times
    return 1, 1
