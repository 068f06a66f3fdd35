"""What kind of file this is, by its first bytes, and whether it holds as much as its header promises.

A file's name is not trusted: mp3 bytes in a file called .wav are common. Nor is a decoder's silence about a
file that was cut off: most decoders return what is there without a word.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

HEAD_BYTES = 64
# A file may fall this much short of its header before it counts as truncated: recorders that count their own header,
# a tag or a pad byte are common; missing words are longer.
TOLERATED_BYTES = 128
MOST_CHUNKS = 100_000  # a fragmented film of two hours has some thousands
# Writers that can't seek back (pipes) leave these where the length belongs.
UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFF00}
OGG_PAGE_BYTES = 65_307  # the longest page RFC 3533 allows


@dataclass(frozen=True)
class Container:
    """A file format: its name here, the FFmpeg demuxer that reads it, and the extensions it goes by."""

    name: str
    demuxer: str
    extensions: tuple[str, ...]
    soundfile: bool
    """libsndfile reads it; FFmpeg is then only the second try."""


WAV = Container("wav", "wav", (".wav", ".wave"), True)
W64 = Container("w64", "w64", (".w64", ".wav"), True)
AIFF = Container("aiff", "aiff", (".aif", ".aiff", ".aifc"), True)
AU = Container("au", "au", (".au", ".snd"), True)
CAF = Container("caf", "caf", (".caf",), True)
FLAC = Container("flac", "flac", (".flac",), True)
OGG = Container("ogg", "ogg", (".ogg", ".oga", ".opus", ".ogv", ".spx"), True)
MP3 = Container("mp3", "mp3", (".mp3", ".mp2", ".mpga"), True)
AAC = Container("aac", "aac", (".aac",), False)
MP4 = Container("mp4", "mov", (".mp4", ".m4a", ".m4b", ".m4v", ".mov", ".3gp", ".3g2", ".qt"), False)
MATROSKA = Container("matroska", "matroska", (".mkv", ".mka", ".webm"), False)
AVI = Container("avi", "avi", (".avi",), False)
ASF = Container("asf", "asf", (".wma", ".wmv", ".asf"), False)
AMR = Container("amr", "amr", (".amr",), False)
FLV = Container("flv", "flv", (".flv",), False)
MPEG_TS = Container("mpegts", "mpegts", (".ts", ".mts", ".m2ts"), False)


def recognise(descriptor: int) -> Container | None:
    """The container of an open file, by its content; None where it is none of those known here."""
    head = os.pread(descriptor, HEAD_BYTES, 0)
    tag = _id3_bytes(head)
    # An ID3 tag means MP3, unless something else follows: taggers put it before FLAC and AAC too.
    return (_by_signature(os.pread(descriptor, HEAD_BYTES, tag)) or MP3) if tag else _by_signature(head)


def _by_signature(head: bytes) -> Container | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"RIFX":
        return WAV
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    if head[:16] == b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00":
        return W64
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return MP4
    for signature, container in SIGNATURES.items():
        if head.startswith(signature):
            return container
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return AAC  # ADTS: sync word, then layer 0
    return MP3 if _is_mpeg_frame(head) else None


SIGNATURES = {
    b"fLaC": FLAC,
    b"OggS": OGG,
    b".snd": AU,
    b"caff": CAF,
    b"#!AMR": AMR,
    b"FLV\x01": FLV,
    b"\x1a\x45\xdf\xa3": MATROSKA,
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ASF,
    b"\x47\x40": MPEG_TS,
}


def missing_bytes(descriptor: int, container: Container, size: int) -> str:
    """Say what the header promises and the file lacks; "" where nothing is missing or nothing was promised.

    Looks at lengths only (RIFF data chunk, ISO 14496-12 boxes, the last Ogg page, the Xing tag of an mp3), so it costs
    the same for a clip and for a film. FLAC promises samples, not bytes: whoever decodes it has to count. Bare AAC, Matroska,
    AVI and the like promise nothing.
    """
    checks = {"wav": _wav, "w64": _w64, "aiff": _aiff, "au": _au, "mp4": _mp4, "ogg": _ogg, "mp3": _mp3}
    check = checks.get(container.name)
    promised, present = check(descriptor, size) if check else (0, 0)
    # The Xing tag of some encoders is a little off; mpg123, too, finds one percent worth a warning.
    tolerated = max(TOLERATED_BYTES, promised // 100 if container is MP3 else 0)
    if promised - present <= tolerated:
        return ""
    return f"the header promises {promised:,} bytes, the file has {present:,} of them"


def _wav(descriptor: int, size: int) -> tuple[int, int]:
    head = os.pread(descriptor, 12, 0)
    order = ">" if head[:4] == b"RIFX" else "<"
    long_size, at = None, 12
    for _ in range(MOST_CHUNKS):
        if at + 8 > size:
            break
        name, length = struct.unpack(order + "4sI", os.pread(descriptor, 8, at))
        if name == b"ds64":
            long_size = struct.unpack("<Q", os.pread(descriptor, 8, at + 16).ljust(8, b"\0"))[0]
        if name == b"data":
            if length == 0xFFFFFFFF and long_size:
                length = long_size
            return (0, 0) if length in UNKNOWN_SIZES else (length, size - at - 8)
        at += 8 + length + length % 2
    return 0, 0


def _w64(descriptor: int, size: int) -> tuple[int, int]:
    return struct.unpack("<Q", os.pread(descriptor, 8, 16).ljust(8, b"\0"))[0], size


def _aiff(descriptor: int, size: int) -> tuple[int, int]:
    (length,) = struct.unpack(">I", os.pread(descriptor, 4, 4))
    return (0, 0) if length in UNKNOWN_SIZES else (8 + length, size)


def _au(descriptor: int, size: int) -> tuple[int, int]:
    offset, length = struct.unpack(">II", os.pread(descriptor, 8, 4).ljust(8, b"\0"))
    return (0, 0) if length in UNKNOWN_SIZES else (length, size - offset)


def _mp4(descriptor: int, size: int) -> tuple[int, int]:
    at = 0
    for _ in range(MOST_CHUNKS):
        if at + 8 > size:
            return at, size
        (length,) = struct.unpack(">I", os.pread(descriptor, 4, at))
        if length == 1:
            length = struct.unpack(">Q", os.pread(descriptor, 8, at + 8).ljust(8, b"\0"))[0]
        if length < 8:  # 0: "up to the end of the file"; others aren't boxes
            break
        at += length
    return 0, 0


def _ogg(descriptor: int, size: int) -> tuple[int, int]:
    start = max(0, size - OGG_PAGE_BYTES)
    tail = os.pread(descriptor, OGG_PAGE_BYTES, start)
    at = tail.rfind(b"OggS\x00")
    if at < 0:
        return 0, 0
    page = tail[at:]
    segments = page[26] if len(page) > 26 else 0
    length = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < 27 + segments:
        length += OGG_PAGE_BYTES  # cut inside the page's own header: how much is missing can't be known
    return start + at + length, size


def _mp3(descriptor: int, size: int) -> tuple[int, int]:
    """The Xing or Info tag in the first frame says how many bytes the stream has."""
    at = _id3_bytes(os.pread(descriptor, 10, 0))
    frame = os.pread(descriptor, 256, at)
    if not _is_mpeg_frame(frame):
        return 0, 0
    tag = max(frame.find(b"Xing", 0, 48), frame.find(b"Info", 0, 48))
    if tag < 0 or len(frame) < tag + 16:
        return 0, 0
    (flags,) = struct.unpack(">I", frame[tag + 4 : tag + 8])
    if not flags & 2:
        return 0, 0
    place = tag + 8 + 4 * (flags & 1)
    (length,) = struct.unpack(">I", frame[place : place + 4])
    return length, size - at


def _id3_bytes(head: bytes) -> int:
    """The length of the ID3v2 tag that a file begins with; 0 where it begins with something else."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether an MPEG audio frame of layer 1, 2 or 3 begins here: sync word, no reserved value in any field."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bitrate != 15 and rate != 3
