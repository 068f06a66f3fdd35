"""Read any audio file as 16 kHz mono: libsndfile first where it reads all of it, else FFmpeg (PyAV), part by part."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

import soundfile

from ser.audio.container import FLAC
from ser.audio.packets import read_with_ffmpeg
from ser.audio.recording import BLOCK_VALUES, LONGEST_SECONDS, Recording, Unreadable, one_line
from ser.audio.source import Source

UNCHECKED = ("MS_ADPCM", "IMA_ADPCM", "GSM610")  # damaged blocks come out as noise


def read_start(source: Source, seconds: float) -> Recording:
    """Read at most `seconds` from the start. Raises Unreadable."""
    reasons = []
    kept = None
    for reader in _readers(source):
        try:
            recording = deque(reader(source, seconds, by_clock=False), maxlen=1).pop()
        except Unreadable as reason:
            reasons.append(str(reason))
            continue
        if not recording.damaged:
            return recording
        # The other library may know better; of two damaged readings the first is kept.
        kept = kept or recording
    if kept is not None:
        return kept
    raise Unreadable("; ".join(dict.fromkeys(reasons)))


def read_all(source: Source) -> Iterator[Recording]:
    """Read to the end: the same recording again after each block, from which the caller takes the samples.

    Time 0 is where players begin: sound that comes later than the picture, or stops for a while, has silence in its place.

    Raises Unreadable, where something was read already with what went wrong then.
    """
    reasons = []
    # Of a damaged FLAC libsndfile may give nothing, or lose its last seconds.
    readers = [read_with_ffmpeg] if source.container is FLAC else _readers(source)
    for reader in readers:
        begun = False
        try:
            for recording in reader(source, LONGEST_SECONDS, by_clock=True):
                begun = True
                yield recording
            return
        except Unreadable as reason:
            if begun:  # another library would begin at the start again
                raise
            reasons.append(str(reason))
    raise Unreadable("; ".join(dict.fromkeys(reasons)))


def _readers(source: Source) -> list:
    return [_read_with_soundfile, read_with_ffmpeg] if source.for_soundfile else [read_with_ffmpeg]


def _read_with_soundfile(source: Source, seconds: float, by_clock: bool) -> Iterator[Recording]:
    del by_clock  # these formats have none
    recording = Recording(seconds)
    with _opened(source) as sound:
        if sound.subtype in UNCHECKED:
            raise Unreadable(f"libsndfile doesn't notice damage in {sound.subtype}")
        known = sound.frames if 0 <= sound.frames < LONGEST_SECONDS * sound.samplerate else None
        recording.begin(sound.samplerate, sound.channels, 8 if sound.subtype in ("PCM_U8", "PCM_S8") else 16)
        recording.total_seconds = None if known is None else known / sound.samplerate
        frames = max(1, BLOCK_VALUES // sound.channels)
        while not recording.full:
            try:
                block = sound.read(frames, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError, OSError) as error:
                recording.damaged = one_line(error)
                break
            recording.add(block)
            if len(block) < frames:
                recording.finish()
                if source.container.name in ("flac", "ogg"):  # a wav promises bytes, an mp3 guesses
                    recording.compare(recording.total_seconds, recording.seconds)
                break
            yield recording
        yield recording


def _opened(source: Source) -> soundfile.SoundFile:
    try:
        os.lseek(source.descriptor, 0, os.SEEK_SET)
        # By descriptor: libsndfile then can't take a file's name for its format.
        return soundfile.SoundFile(source.descriptor, closefd=False)
    except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
        raise Unreadable(one_line(error)) from None
