"""Which of the sound tracks of a film is heard."""

from __future__ import annotations

from ser.audio.recording import Unreadable

AUDIO_TRACK_HELP = "Which of several audio tracks to hear, from 1; default the one that a player starts with."


def choose_track(opened, wanted: int | None):
    """(PyAV stream, what to say about it): the track of this number, from 1; None is the first that a player would start with.

    What to say is "" where there is one track only. Raises Unreadable where there is no such track, or none that can be decoded.
    """
    tracks = list(opened.streams.audio)
    if not tracks:
        kinds = ", ".join(sorted({stream.type for stream in opened.streams})) or "nothing"
        raise Unreadable(f"no audio stream (the file holds {kinds})")
    if wanted is not None and not 1 <= wanted <= len(tracks):
        names = "; ".join(_name(number, stream) for number, stream in enumerate(tracks, start=1))
        raise Unreadable(f"audio track {wanted} is wanted, there are {len(tracks)}: {names}")
    number = wanted or _players_choice(tracks)
    stream = tracks[number - 1]
    if stream.codec_context is None:
        raise Unreadable("no decoder for its audio stream")
    others = [_name(place, other) for place, other in enumerate(tracks, start=1) if place != number]
    return stream, f"audio track {_name(number, stream)} is heard, not {', '.join(others)}" if others else ""


def _players_choice(tracks: list) -> int:
    """The first that can be decoded among those flagged default, else among all."""
    contexts = {number: stream.codec_context for number, stream in enumerate(tracks, start=1)}
    usable = [number for number, context in contexts.items() if context is not None and context.sample_rate]
    flagged = [number for number in usable if tracks[number - 1].disposition & tracks[number - 1].disposition.default]
    return (flagged or usable or [1])[0]


def _name(number: int, stream) -> str:
    facts = [stream.metadata.get("language", ""), stream.metadata.get("title", "")]
    facts.append("default" if stream.disposition & stream.disposition.default else "")
    told = ", ".join(fact for fact in facts if fact and fact != "und")
    return f"{number} ({told})" if told else str(number)
