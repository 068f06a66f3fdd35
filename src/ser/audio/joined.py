"""Files that are several files: joined by `cat`, by a recorder or by a radio station, with tags between their frames.

Decoders stop where the first of them ends, most without a word, or take a tag for sound. Here a file is taken apart into parts that
are whole files, and a part into spans that leave out tags and junk.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from ser.audio.container import SEARCHED_BYTES, Container, adts_frame_bytes, first_frame, id3_bytes, mpeg_frame_bytes
from ser.audio.promise import TOLERATED_BYTES, boxes, segments, wav_files
from ser.audio.window import Span

Part = tuple[Span, ...]
FRAME_BYTES = {"mp3": mpeg_frame_bytes, "aac": adts_frame_bytes}
OGG_START = re.compile(rb"OggS\x00[\x02\x06]", re.DOTALL)  # the first page of a stream, RFC 3533
FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)  # and the STREAMINFO block, RFC 9639
EBML_START = re.compile(rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82.(?:webm|matroska)", re.DOTALL)  # RFC 8794, with a DocType
APE = b"APETAGEX"


def parts_of(descriptor: int, container: Container, size: int) -> list[Part]:
    """The parts of a file in their order; a file that isn't joined is one part.

    Of Ogg, FLAC, MP3 and AAC every byte is looked at, of others only the headers.
    """
    if container.name in FRAME_BYTES:
        return [_without_tags(descriptor, size, FRAME_BYTES[container.name])]
    starts = STARTS[container.name](descriptor, size) if container.name in STARTS else []
    borders = [0, *starts[1:], size]  # a tag may stand before the first
    return [((start, end),) for start, end in pairwise(borders)]


def left_over(descriptor: int, container: Container, size: int) -> str:
    """What stands behind the end of a wav's last chunk and is neither a chunk nor another wav; "" where it is nothing or zeros."""
    files = wav_files(descriptor, size) if container.name == "wav" else []
    left = size - files[-1].end if files and files[-1].present else 0
    if left <= TOLERATED_BYTES or not os.pread(descriptor, SEARCHED_BYTES, size - left).strip(b"\0"):
        return ""
    return f"{left:,} bytes behind the end of the sound that the header names weren't read"


def _wavs(descriptor: int, size: int) -> list[int]:
    return [file.start for file in wav_files(descriptor, size)]


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


STARTS = {"wav": _wavs, "mp4": _mp4s, "matroska": _matroskas, "flac": _flacs, "ogg": _oggs}


def _matches(pattern: re.Pattern, descriptor: int, size: int) -> Iterator[int]:
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as data:
        yield from (match.start() for match in pattern.finditer(data))


def _without_tags(descriptor: int, size: int, frame_bytes: Callable[[bytes], int]) -> Part:
    """All between the first frame and the end, but for ID3v2 and APE tags: a cover picture would be taken for damaged frames."""
    spans, at = [], 0
    for start, end in sorted(_tags(descriptor, size)):
        if start > at:
            spans.append((at, start))
        at = max(at, end)
    spans.append((at, size))
    return tuple(_from_first_frame([span for span in spans if span[1] > span[0]], descriptor, frame_bytes)) or ((0, size),)


def _from_first_frame(spans: list[Span], descriptor: int, frame_bytes: Callable[[bytes], int]) -> list[Span]:
    for number, (start, end) in enumerate(spans):
        at = first_frame(os.pread(descriptor, min(end - start, SEARCHED_BYTES), start), frame_bytes)
        if at is not None:
            return [(start + at, end), *spans[number + 1 :]]
    return spans


def _tags(descriptor: int, size: int) -> list[Span]:
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as data:
        return [*_id3_tags(data, size), *_ape_tags(data, size)]


def _id3_tags(data: mmap.mmap, size: int) -> Iterator[Span]:
    at = data.find(b"ID3")
    while at >= 0:
        length = id3_bytes(data[at : at + 10])
        if length and at + length <= size:
            yield at, at + length
        at = data.find(b"ID3", at + max(length, 1))


def _ape_tags(data: mmap.mmap, size: int) -> Iterator[Span]:
    """APE tags have a header, a footer, or both: 32 bytes each, with the length of what lies between them and the footer."""
    at = data.find(APE)
    while at >= 0:
        head = data[at : at + 32].ljust(32, b"\0")
        length, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
        is_header = flags & 1 << 29
        start, end = (at, at + 32 + length) if is_header else (at + 32 - length, at + 32)
        if start >= 0 and end <= size:
            yield start, end
        at = data.find(APE, at + 32)
