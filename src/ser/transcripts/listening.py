"""What speech to text is given to hear: stretches of speech with short pauses between them, and some silence around them, at most half a
minute at a time.

Whisper hears 30 s at once. Long pauses are shortened, because it invents sentences in them; what it says of a window's time is told as
the recording's time again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.transcripts.voice_activity import padded

LONGEST = 28.0  # seconds in a window
PAUSE = 1.0  # seconds that are kept of a longer pause


@dataclass(frozen=True)
class Listening:
    """One window: the spans of speech in it and the parts of the recording it is made of, both (start, end) in samples, in order."""

    spans: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> list[tuple[float, float]]:
        """The spans in seconds."""
        return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in self.spans]

    def read(self, samples: np.ndarray) -> np.ndarray:
        """int16 (T,) of the window, from those of the recording, which may be a memory map."""
        return np.concatenate([samples[start:end] for start, end in self.parts])

    def in_recording(self, seconds: float) -> float:
        """The recording's time of a time in the window; what lies behind the window's end is its end."""
        place = max(0, round(seconds * SAMPLE_RATE))
        for start, end in self.parts:
            if place < end - start:
                return (start + place) / SAMPLE_RATE
            place -= end - start
        return self.parts[-1][1] / SAMPLE_RATE


def windows_of_speech(spans: Sequence[tuple[int, int]], length: int) -> list[Listening]:
    """All spans (in order, each at most LONGEST - PAUSE seconds) in as few windows as hold them, parted at their longest pauses."""
    wide = padded(spans, round(PAUSE / 2 * SAMPLE_RATE), length)
    windows, first = [], 0
    while first < len(spans):
        last = _last_that_fits(wide, first)
        if last < len(spans):
            # Between sentences rather than within one: the longest pause of the second half.
            half = (first + last + 1) // 2
            last = max(range(half, last + 1), key=lambda place: spans[place][0] - spans[place - 1][1])
        windows.append(Listening(tuple(spans[first:last]), tuple(wide[first:last])))
        first = last
    return windows


def _last_that_fits(wide: Sequence[tuple[int, int]], first: int) -> int:
    """One past the last span that a window beginning with `first` can hold; at least one is in it."""
    room = round(LONGEST * SAMPLE_RATE)
    for place in range(first, len(wide)):
        room -= wide[place][1] - wide[place][0]
        if room < 0 and place > first:
            return place
    return len(wide)
