"""Files that are several files: joined by `cat`, by a recorder or by a radio station, with tags between their frames.

Decoders stop where the first of them ends, most without a word, or take a tag for sound. Here a file is taken apart into parts that
are whole files, and a part into spans that leave out tags and junk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from ser.audio.container import OTHER, SEARCHED_BYTES, WAV, Container, adts_frame_bytes, first_frame, id3_bytes, mpeg_frame_bytes
from ser.audio.promise import TOLERATED_BYTES, avi_chunks, boxes, segments, wav_files
from ser.audio.window import Span

Part = tuple[Span, ...]
FRAME_BYTES = {"mp3": mpeg_frame_bytes, "aac": adts_frame_bytes}
OGG_START = re.compile(rb"OggS\x00[\x02\x06]", re.DOTALL)  # the first page of a stream, RFC 3533
FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)  # and the STREAMINFO block, RFC 9639
EBML_START = re.compile(rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82.(?:webm|matroska)", re.DOTALL)  # RFC 8794, with a DocType
# Kinds that FFmpeg alone knows here, of which it reads the first of joined files.
OTHER_STARTS = re.compile(
    rb"FLV\x01[\x01\x04\x05]\0\0\0\x09|TTA1[\x01\x03]\0|Creative Voice File\x1a|caff\0\x01\0\0desc|FORM.{4}AIF[FC]|#!AMR(?:-WB)?\n"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"  # Sony's Wave64
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"  # ASF: wma, wmv
    # WavPack's first block: its index is 0, and it is the first of its moment.
    + rb"|wvpk.{6}\0.{5}\0{4}.{5}["
    + re.escape(bytes(flags for flags in range(256) if flags & 8))
    + rb"]",
    re.DOTALL,
)
LONGEST_MATCH = 128
TAGS = (b"ID3", b"TAG", b"APE", b"LYR")


def parts_of(descriptor: int, container: Container, size: int) -> tuple[list[Part], str]:
    """The parts of a file in their order, and what is left out of them ("": nothing). A file that isn't joined is one part.

    Of Ogg, FLAC and kinds that FFmpeg alone knows every byte is looked at, of MP3 and AAC every frame's header, of others only the
    file's headers.
    """
    if container.name in FRAME_BYTES:
        return _frames_only(descriptor, size, FRAME_BYTES[container.name])
    starts = STARTS[container.name](descriptor, size) if container.name in STARTS else []
    borders = [0, *starts[1:], size]  # a tag may stand before the first
    return [((start, end),) for start, end in pairwise(borders)], _behind_wav(descriptor, size) if container is WAV else ""


def _behind_wav(descriptor: int, size: int) -> str:
    """What stands behind the end of the last chunk and is neither a chunk nor another wav; zeros don't count."""
    files = wav_files(descriptor, size)
    left = size - files[-1].end if files and files[-1].present else 0
    if left <= TOLERATED_BYTES or not os.pread(descriptor, SEARCHED_BYTES, size - left).strip(b"\0"):
        return ""
    return f"{left:,} bytes behind the end of the sound that the header names weren't read"


def _frames_only(descriptor: int, size: int, frame_bytes: Callable[[bytes], int]) -> tuple[list[Part], str]:
    """The stretches of frames that follow each other; between them stand tags, which are fine, or damage, or something foreign."""
    spans, foreign, at = [], [], 0
    while at < size:
        at += id3_bytes(os.pread(descriptor, 10, at))  # a cover picture may hold what looks like frames
        head = os.pread(descriptor, SEARCHED_BYTES, at)
        skipped = first_frame(head, frame_bytes)
        between = head if skipped is None else head[:skipped]
        if spans and between and not _is_tag(between):
            foreign.append(len(between))
        at += len(between)
        if skipped is not None:
            start = at
            while at < size and (length := frame_bytes(os.pread(descriptor, 7, at))):
                at += length
            spans.append((start, min(at, size)))
    told = f"{sum(foreign):,} bytes between its frames are no sound (in {len(foreign)} places)" if foreign else ""
    return [tuple(spans) or ((0, size),)], told


def _is_tag(between: bytes) -> bool:
    return between[:3] in TAGS or not between.strip(b"\0")


def _wavs(descriptor: int, size: int) -> list[int]:
    return [file.start for file in wav_files(descriptor, size)]


def _avis(descriptor: int, size: int) -> list[int]:
    return [at for kind, at, _ in avi_chunks(descriptor, size) if kind == b"AVI "]


def _mp4s(descriptor: int, size: int) -> list[int]:
    return [at for name, at, _ in boxes(descriptor, size) if name == b"ftyp"]


def _matroskas(descriptor: int, size: int) -> list[int]:
    found = segments(descriptor, size)
    if found and found[-1][1] is None:
        return [start for start, _ in found] + [start for start in _matches(EBML_START, descriptor, size) if start > found[-1][0]]
    return [start for start, _ in found]


def _flacs(descriptor: int, size: int) -> list[int]:
    return list(_matches(FLAC_START, descriptor, size))


def _oggs(descriptor: int, size: int) -> list[int]:
    """First pages that follow each other begin streams side by side (picture and sound): one part."""
    starts, group_ends = [], -1
    for start in _matches(OGG_START, descriptor, size):
        if start != group_ends:
            starts.append(start)
        page = os.pread(descriptor, 27 + 255, start)
        table = page[26] if len(page) > 26 else 0
        group_ends = start + 27 + table + sum(page[27 : 27 + table])
    return starts


def _others(descriptor: int, size: int) -> list[int]:
    """Another file of the kind that stands at the start: the same first four bytes."""
    first = os.pread(descriptor, 4, 0)
    return [start for start in _matches(OTHER_STARTS, descriptor, size) if os.pread(descriptor, 4, start) == first]


STARTS = {"wav": _wavs, "avi": _avis, "mp4": _mp4s, "matroska": _matroskas, "flac": _flacs, "ogg": _oggs, OTHER.name: _others}


def _matches(pattern: re.Pattern, descriptor: int, size: int) -> Iterator[int]:
    for start in range(0, size, SEARCHED_BYTES):
        block = os.pread(descriptor, SEARCHED_BYTES + LONGEST_MATCH, start)
        yield from (start + match.start() for match in pattern.finditer(block) if match.start() < SEARCHED_BYTES)
