"""A part of an open file, or several parts one after another, as a file of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

Span = tuple[int, int]
"""The bytes from the first number up to the second."""


class Window(io.RawIOBase):
    """Reads the given spans of a descriptor as if they were one file; the descriptor's own position isn't touched."""

    def __init__(self, descriptor: int, spans: Sequence[Span]) -> None:
        self.descriptor, self.spans = descriptor, spans
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
                data = os.pread(self.descriptor, wanted if size < 0 else min(size, wanted), start + within)
                self.at += len(data)
                return data
            before += end - start
        return b""
