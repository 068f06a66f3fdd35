"""Word, segment, transcript and what was dropped of it: the form in which transcripts are passed on.

Times are seconds from the start of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One word and when it is spoken."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Segment:
    """A stretch of speech: what is said in it, its words where their times are known, and who speaks where that is known."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True)
class Dropped:
    """Something that was left out of a transcript or of subtitles, and why."""

    start: float
    end: float
    text: str
    reason: str


@dataclass(frozen=True)
class Transcript:
    """Segments in the order of their starts; the language where it is known; what was left out."""

    segments: tuple[Segment, ...]
    language: str | None = None
    dropped: tuple[Dropped, ...] = ()

    @property
    def text(self) -> str:
        """All that is said, in one line; "" where nothing is."""
        return " ".join(" ".join(segment.text.split()) for segment in self.segments).strip()
