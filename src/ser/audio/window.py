"""A part of an open file, or several parts one after another, as a file of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence

Span = tuple[int, int]
"""The bytes from the first number up to the second."""


class Window(io.RawIOBase):
    """Reads the given spans of a descriptor as if they were one file; the descriptor's own position isn't touched.

    instead: other bytes for those at some places of the descriptor.
    """

    def __init__(self, descriptor: int, spans: Sequence[Span], instead: Mapping[int, bytes]) -> None:
        self.descriptor, self.spans, self.instead = descriptor, spans, instead
        self.size = sum(end - start for start, end in spans)
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence])
        return self.at

    def read(self, size: int = -1) -> bytes:
        before = 0
        for start, end in self.spans:
            within = self.at - before
            if within < end - start:
                wanted = end - start - within
                data = self._pread(wanted if size < 0 else min(size, wanted), start + within)
                self.at += len(data)
                return data
            before += end - start
        return b""

    def _pread(self, size: int, start: int) -> bytes:
        data = bytearray(os.pread(self.descriptor, size, start)) if self.instead else os.pread(self.descriptor, size, start)
        for place, other in self.instead.items():
            first, last = max(place, start), min(place + len(other), start + len(data))
            if first < last:
                data[first - start : last - start] = other[first - place : last - place]
        return bytes(data)
