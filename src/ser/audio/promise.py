"""Whether a file holds as much as its header promises: most decoders return what is there without a word."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ser.audio.container import Container, id3_bytes, mpeg_frame_bytes

# A file may fall this much short of its header before it counts as truncated: recorders that count their own header,
# a tag or a pad byte are common; missing words are longer.
TOLERATED_BYTES = 128
MOST_CHUNKS = 100_000  # a fragmented film of two hours has some thousands
# Writers that can't seek back (pipes, browsers) leave 0, 2^31 or 2^32 where a length belongs, less a header or a buffer.
AROUND_UNKNOWN = 1 << 16
OGG_PAGE_BYTES = 65_307  # the longest page RFC 3533 allows
EBML_ID, SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(descriptor: int, container: Container, size: int) -> str:
    """Say what the header promises and the file lacks; "" where nothing is missing or nothing was promised.

    Looks at lengths only (RIFF chunks, ISO 14496-12 boxes, the Matroska segment, the last Ogg page, the Xing tag of an mp3), so it
    costs the same for a clip and for a film. FLAC promises samples, not bytes: whoever decodes it has to count. Bare AAC, transport
    streams and the like promise nothing.
    """
    checks = {"wav": _wav, "avi": _avi, "mp4": _mp4, "ogg": _ogg, "mp3": _mp3, "matroska": _matroska}
    check = checks.get(container.name)
    promised, present = check(descriptor, size) if check else (0, 0)
    # The Xing tag of some encoders is a little off; mpg123, too, finds one percent worth a warning.
    tolerated = max(TOLERATED_BYTES, promised // 100 if container.name == "mp3" else 0)
    if promised - present <= tolerated:
        return ""
    return f"the header promises {promised:,} bytes, the file has {present:,} of them ({100 * present / promised:.0f} %)"


def is_unknown(length: int, present: int) -> bool:
    """Whether a length in a RIFF header means "nobody knew": 0, 2^31 and 2^32 and their neighbours, where so much isn't there."""
    return length == 0 or (length > present and any(abs(length - edge) <= AROUND_UNKNOWN for edge in (2**31, 2**32, 2**63, 2**64)))


class WavFile(NamedTuple):
    """One of the RIFF files in a wav: where it begins, the length its data chunk promises (None: not known) and has, where it ends."""

    start: int
    promised: int | None
    present: int
    end: int


def wav_files(descriptor: int, size: int) -> list[WavFile]:
    """The RIFF files that follow each other in a wav; usually one. None of them has data where the header is damaged."""
    files: list[WavFile] = []
    at = 0
    while at < size and len(files) < MOST_CHUNKS and _is_wave(os.pread(descriptor, 12, at)):
        files.append(_wav_file(descriptor, at, size))
        at = files[-1].end
    return files


def _is_wave(head: bytes) -> bool:
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def _wav_file(descriptor: int, start: int, size: int) -> WavFile:
    order = ">" if os.pread(descriptor, 4, start) == b"RIFX" else "<"
    long_size, at, data = None, start + 12, None
    for _ in range(MOST_CHUNKS):
        head = os.pread(descriptor, 12, at)
        if len(head) < 8 or (data and not _is_chunk(head)):
            break
        name, length = struct.unpack(order + "4sI", head[:8])
        if name == b"ds64":
            long_size = struct.unpack("<Q", os.pread(descriptor, 8, at + 16).ljust(8, b"\0"))[0]
        if name == b"data" and data is None:
            length = long_size if long_size is not None and length == 0xFFFFFFFF else length
            present = size - at - 8
            if is_unknown(length, present):
                return WavFile(start, None, present, size)
            data = (length, min(length, present))
        at += 8 + length + (length % 2 and not _is_chunk(os.pread(descriptor, 12, at + 8 + length)))
        if at >= size:
            break
    return WavFile(start, *(data or (0, 0)), min(at, size))


def _is_chunk(head: bytes) -> bool:
    """Whether a chunk of this RIFF file begins here, rather than another file or nothing known."""
    return re.fullmatch(rb"[A-Za-z][A-Za-z0-9 _]{2}[A-Za-z0-9 _]", head[:4]) is not None and not _is_wave(head)


def _wav(descriptor: int, size: int) -> tuple[int, int]:
    files = wav_files(descriptor, size)
    return (files[-1].promised, files[-1].present) if files and files[-1].promised is not None else (0, 0)


def avi_chunks(descriptor: int, size: int) -> list[tuple[bytes, int, int]]:
    """(type, place, end) of the RIFF chunks of an AVI; over a gigabyte it is several, of which all but the first have the type AVIX."""
    chunks, at = [], 0
    while at < size and len(chunks) < MOST_CHUNKS:
        head = os.pread(descriptor, 12, at)
        if head[:4] != b"RIFF" or len(head) < 12:
            break
        (length,) = struct.unpack("<I", head[4:8])
        end = size if is_unknown(length, size - at) else at + 8 + length
        chunks.append((head[8:], at, end))
        at = end
    return chunks


def _avi(descriptor: int, size: int) -> tuple[int, int]:
    chunks = avi_chunks(descriptor, size)
    return (chunks[-1][2], size) if chunks else (0, 0)


def boxes(descriptor: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, length) of the outermost boxes of an ISO 14496-12 file, up to the first that isn't one."""
    at = 0
    for _ in range(MOST_CHUNKS):
        if at + 8 > size:
            return
        length, name = struct.unpack(">I4s", os.pread(descriptor, 8, at))
        if length == 1:
            length = struct.unpack(">Q", os.pread(descriptor, 8, at + 8).ljust(8, b"\0"))[0]
        if length < 8:  # 0: "up to the end of the file"; others aren't boxes
            length = 0
        yield name, at, length
        if not length:
            return
        at += length


def _mp4(descriptor: int, size: int) -> tuple[int, int]:
    found = list(boxes(descriptor, size))
    if not found or len(found) == MOST_CHUNKS or not found[-1][2]:
        return 0, 0
    return found[-1][1] + found[-1][2], size


def segments(descriptor: int, size: int) -> list[tuple[int, int | None]]:
    """(place, end) of the Matroska files that follow each other; end None where the length isn't known (a live recording)."""
    found: list[tuple[int, int | None]] = []
    at = 0
    while at < size and len(found) < MOST_CHUNKS and os.pread(descriptor, 4, at) == EBML_ID:
        start, head = at, os.pread(descriptor, 12, at)
        length, width = _vint(head[4:])
        at += 4 + width + (length or 0)
        head = os.pread(descriptor, 12, at)
        if head[:4] != SEGMENT_ID:
            break
        length, width = _vint(head[4:])
        if length is None:
            return [*found, (start, None)]
        at += 4 + width + length
        found.append((start, at))
    return found


def _vint(data: bytes) -> tuple[int | None, int]:
    """The value of an EBML number and its width in bytes; None where all its bits are set: not known."""
    width = 9 - data[0].bit_length() if data and data[0] else 1
    value = int.from_bytes(data[:width], "big") & (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), width


def _matroska(descriptor: int, size: int) -> tuple[int, int]:
    found = segments(descriptor, size)
    return (found[-1][1], size) if found and found[-1][1] is not None else (0, 0)


def _ogg(descriptor: int, size: int) -> tuple[int, int]:
    start = max(0, size - OGG_PAGE_BYTES)
    tail = os.pread(descriptor, OGG_PAGE_BYTES, start)
    at = tail.rfind(b"OggS\x00")
    if at < 0:
        return 0, 0
    page = tail[at:]
    table = page[26] if len(page) > 26 else 0
    length = 27 + table + sum(page[27 : 27 + table])
    if len(page) < 27 + table:
        length += OGG_PAGE_BYTES  # cut inside the page's own header: how much is missing can't be known
    return start + at + length, size


def _mp3(descriptor: int, size: int) -> tuple[int, int]:
    """The Xing or Info tag in the first frame says how many bytes the stream has."""
    at = id3_bytes(os.pread(descriptor, 10, 0))
    return xing_bytes(os.pread(descriptor, 256, at)), size - at


def xing_bytes(frame: bytes) -> int:
    """How many bytes the Xing or Info tag in this frame promises from the frame on; 0 where there is none or it doesn't say."""
    tag = max(frame.find(b"Xing", 0, 48), frame.find(b"Info", 0, 48)) if mpeg_frame_bytes(frame[:4]) else -1
    if tag < 0 or len(frame) < tag + 16:
        return 0
    (flags,) = struct.unpack(">I", frame[tag + 4 : tag + 8])
    place = tag + 8 + 4 * (flags & 1)
    return struct.unpack(">I", frame[place : place + 4])[0] if flags & 2 else 0
