"""An open file made ready for reading: what it is, of which parts it consists, and what is plainly missing or left over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from ser.audio.container import HEAD_BYTES, OGG, OTHER, WAV, Container, recognise
from ser.audio.joined import Part, parts_of
from ser.audio.promise import WavFile, missing_bytes, wav_files, xing_bytes

TRAILING_BYTES = 1_024  # what may stand behind the frames of an mp3 that isn't followed by another
VORBIS = b"\x01vorbis"  # how the first page of such a stream goes on


@dataclass(frozen=True)
class Source:
    """A file to read sound from. missing: what the header promises beyond the file; left: what of the file is left out ("": nothing).

    for_soundfile: libsndfile reads all of it. endless: the last part says no length and goes to the end of the file.
    instead: what decoders are to see in place of some bytes.
    track: which of its audio tracks to read, from 1; None is the one that a player would choose.
    """

    descriptor: int
    container: Container
    parts: list[Part]
    missing: str
    left: str
    for_soundfile: bool
    endless: bool
    instead: dict[int, bytes]
    track: int | None = None


def open_source(file: BinaryIO, track: int | None = None) -> Source:
    """Look at an open, not empty file. A content not known by sight is left to FFmpeg."""
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    container = recognise(descriptor) or OTHER
    parts, left = parts_of(descriptor, container, size)
    missing = missing_bytes(descriptor, container, size)
    files = wav_files(descriptor, size) if container is WAV else []
    endless = bool(files and files[-1].promised is None and files[-1].present)
    for_soundfile = not endless and _for_soundfile(descriptor, container, parts)
    return Source(
        descriptor, container, parts, missing, left, for_soundfile, endless, _as_riff(descriptor, files) if endless else {}, track
    )


def _for_soundfile(descriptor: int, container: Container, parts: list[Part]) -> bool:
    """Whether libsndfile reads all of it: it stops at the first of joined files, of an mp3 where its Xing tag says."""
    if not container.soundfile or len(parts) > 1 or len(parts[0]) > 1:
        return False
    ((start, end),) = parts[0]
    if container is OGG:  # of Opus FFmpeg makes sound in half the time
        return VORBIS in os.pread(descriptor, HEAD_BYTES, start)
    if container.name == "mp3":
        promised = xing_bytes(os.pread(descriptor, 256, start))
        return promised > 0 and end - start - promised <= TRAILING_BYTES
    return True


def _as_riff(descriptor: int, files: list[WavFile]) -> dict[int, bytes]:
    """An RF64 file whose long lengths aren't known either reads as a RIFF file without them."""
    at = files[-1].start
    is_long = os.pread(descriptor, 4, at) != b"RIFF" and os.pread(descriptor, 4, at + 12) == b"ds64"
    return {at: b"RIFF", at + 12: b"JUNK"} if is_long else {}
