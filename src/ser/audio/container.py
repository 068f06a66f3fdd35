"""What kind of file this is, by its content.

A file's name is not trusted: mp3 bytes in a file called .wav are common, and so are bytes of something else before the sound.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

HEAD_BYTES = 64
SEARCHED_BYTES = 1 << 20  # how far into a file its first frame is looked for
FRAMES_IN_A_ROW = 4  # so many frame headers, each where the one before it ends, are no coincidence
PACKETS_IN_A_ROW = 5
TS_PACKETS = (188, 192, 204)  # bytes: ISO 13818-1; with a time stamp in front (m2ts); with error correction behind


@dataclass(frozen=True)
class Container:
    """A file format: its name here, the FFmpeg demuxer that reads it, and the extensions it goes by.

    demuxer: "" lets FFmpeg find out which of OTHER_DEMUXERS it is.
    """

    name: str
    demuxer: str
    extensions: tuple[str, ...]
    soundfile: bool = False
    """libsndfile reads it; FFmpeg is then only the second try."""
    clock: bool = False
    """Its packets carry times: sound can begin later than the picture, or pause."""
    resumes: bool = False
    """Made to be joined into in the middle, so that junk before, between and behind its frames is ordinary."""


WAV = Container("wav", "wav", (".wav", ".wave"), soundfile=True)
FLAC = Container("flac", "flac", (".flac",), soundfile=True)
OGG = Container("ogg", "ogg", (".ogg", ".oga", ".opus", ".ogv", ".spx"), soundfile=True, clock=True)
MP3 = Container("mp3", "mp3", (".mp3", ".mp2", ".mpga"), soundfile=True, resumes=True)
AAC = Container("aac", "aac", (".aac",), resumes=True)
MP4 = Container("mp4", "mov", (".mp4", ".m4a", ".m4b", ".m4v", ".mov", ".3gp", ".3g2", ".qt"), clock=True)
MATROSKA = Container("matroska", "matroska", (".mkv", ".mka", ".webm"), clock=True)
AVI = Container("avi", "avi", (".avi",), clock=True)
MPEG_TS = Container("mpegts", "mpegts", (".ts", ".mts", ".m2ts"), clock=True, resumes=True)
# Left to FFmpeg altogether. No demuxer that opens other files or addresses is among them.
OTHER_DEMUXERS = "w64,aiff,au,caf,asf,amr,flv,ac3,eac3,dts,wv,ape,tta,mpeg,voc,loas"
OTHER = Container(
    "other", "",
    (".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".wma", ".wmv", ".asf", ".amr", ".awb", ".flv", ".ac3", ".eac3", ".dts",
     ".wv", ".ape", ".tta", ".mpg", ".mpeg", ".vob", ".voc", ".latm"),
    clock=True,
)  # fmt: skip
ENDINGS = tuple(ending for kind in (WAV, FLAC, OGG, MP3, AAC, MP4, MATROSKA, AVI, MPEG_TS, OTHER) for ending in kind.extensions)
SIGNATURES = {b"fLaC": FLAC, b"OggS": OGG, b"\x1a\x45\xdf\xa3": MATROSKA}
PICTURES = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx ")  # brands of ISO media that are photos


def recognise(descriptor: int) -> Container | None:
    """The container of an open file, by its content; None where it is none of those known here by sight."""
    at = 0
    while tag := id3_bytes(os.pread(descriptor, 10, at)):
        at += tag
    found = _by_signature(os.pread(descriptor, HEAD_BYTES, at)) or _by_frames(os.pread(descriptor, SEARCHED_BYTES, at))
    # An ID3 tag means MP3, unless something else follows: taggers put it before FLAC and AAC too.
    return found or (MP3 if at else None)


def _by_signature(head: bytes) -> Container | None:
    if (head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE") or head[:4] == b"RIFX":
        return WAV
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return None if head[8:12] in PICTURES and head[4:8] == b"ftyp" else MP4
    return next((container for signature, container in SIGNATURES.items() if head.startswith(signature)), None)


def _by_frames(head: bytes) -> Container | None:
    """Formats without a header: the one whose frames begin first."""
    packets = _first_packets(head)
    starts = {MPEG_TS: packets, AAC: first_frame(head, adts_frame_bytes), MP3: first_frame(head, mpeg_frame_bytes)}
    found = {container: at for container, at in starts.items() if at is not None}
    return min(found, key=found.get) if found else None


def _first_packets(head: bytes) -> int | None:
    """Where packets of a transport stream begin, which may have been cut anywhere."""
    for length in TS_PACKETS:
        for at in range(min(length, len(head))):
            if head[at] == 0x47 and all(head[at + step : at + step + 1] == b"\x47" for step in range(0, PACKETS_IN_A_ROW * length, length)):
                return at
    return None


def first_frame(head: bytes, frame_bytes: Callable[[bytes], int]) -> int | None:
    """Where the first of several frames in a row begins (or of fewer that fill the file); None where there are none."""
    at = head.find(b"\xff")
    while at >= 0:
        if _in_a_row(head, at, frame_bytes):
            return at
        at = head.find(b"\xff", at + 1)
    return None


def _in_a_row(head: bytes, at: int, frame_bytes: Callable[[bytes], int]) -> bool:
    kind = _kind(head[at : at + 4])
    for number in range(FRAMES_IN_A_ROW):
        if number and at >= len(head):
            return number > 1 or at == len(head)
        length = frame_bytes(head[at : at + 7])
        if not length or _kind(head[at : at + 4]) != kind:
            return number > 0 and head[at : at + 3] in (b"TAG", b"APE", b"ID3")
        at += length
    return True


def _kind(frame: bytes) -> tuple[int, ...]:
    """What doesn't change from frame to frame: version, layer and rate."""
    return (frame[1] & 0xFE, frame[2] & 0x0C) if len(frame) > 2 else ()


BITRATES = {  # kbit/s by (MPEG-1?, layer), ISO 11172-3 and 13818-3; index 0 is "free", which is left out
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mpeg_frame_bytes(head: bytes) -> int:
    """The length of the MPEG audio frame of layer 1, 2 or 3 that begins here; 0 where none does."""
    return _mpeg_length(head[1], head[2]) if len(head) > 3 and head[0] == 0xFF else 0


@cache  # two hours have 275,000 frames of a few kinds
def _mpeg_length(second: int, third: int) -> int:
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    bitrate, rate, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if second < 0xE0 or version == 1 or layer == 4 or not 0 < bitrate < 15 or rate == 3:
        return 0
    bits = 1000 * BITRATES[version == 3, layer][bitrate - 1]
    hertz = (44_100, 48_000, 32_000)[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def adts_frame_bytes(head: bytes) -> int:
    """The length of the AAC frame (ADTS, ISO 13818-7) that begins here; 0 where none does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


def id3_bytes(head: bytes) -> int:
    """The length of the ID3v2 tag that begins here; 0 where something else does."""
    if head[:3] != b"ID3" or len(head) < 10 or not 2 <= head[3] <= 4 or max(head[6:10]) > 127:
        return 0
    footer = 10 if head[5] & 0x10 else 0
    return 10 + footer + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
