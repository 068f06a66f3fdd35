"""The files of a clip store: samples one after another, and an index with a row per file content, to which new clips are added;
locks, damage, a full disk.

A folder `clips-KEY`, KEY being the decode settings, holds `index.jsonl` (a first line that names the file of samples, then a line per
clip), `audio-ID.i16` and `lock`. Samples are on the disk before their rows are written, so that after a kill at any moment every whole
row has its samples; what stands behind the last whole row is cut off by whoever adds next. A folder that was deleted gets another ID,
so that a process that still reads the old one can't be given other clips.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ser.data.cache_folder import in_cache
from ser.runtime.files import system_errors_of, write_text
from ser.runtime.progress import say

INDEX, LOCK = "index.jsonl", "lock"


class Damaged(Exception):
    """An index that no killed process can have left."""


class PackedFolder:
    """One folder of packed clips. rows: what is known of each clip by its content; `offset` and `frames` say where its samples are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.audio, self.rows, self.end = Path(), {}, 0
        self._index_bytes = 0

    def read(self) -> PackedFolder:
        """Take in what the index holds now; returns itself. Raises Damaged."""
        self.rows, self.end, self._index_bytes = {}, 0, 0
        try:
            lines = (self.folder / INDEX).read_bytes().split(b"\n")[:-1]  # behind the last line end stands at most a part of a row
            if not lines:
                return self
            self.audio = self.folder / json.loads(lines[0])["audio"]
            for line in lines[1:]:
                row = json.loads(line)
                if row["offset"] != self.end:
                    raise Damaged(f"a row at {row['offset']} instead of {self.end}")
                self.rows[row["content"]] = row
                self.end += row["frames"]
            self._index_bytes = sum(map(len, lines)) + len(lines)
            if self.audio.stat().st_size < 2 * self.end:
                raise Damaged("less samples than rows")
        except FileNotFoundError:
            if self._index_bytes:
                raise Damaged("no samples") from None
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(str(error)) from None
        return self

    @contextmanager
    def adding(self) -> Iterator[PackedFolder]:
        """One process adds, others wait for it. The lock ends with its process, however that ends."""
        with in_cache(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / LOCK).open("ab") as lock, system_errors_of(self.folder):
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    self.read()
                except Damaged as damage:
                    say(f"{self.folder}: damaged ({damage}), its clips are decoded again", file=sys.stderr)
                    self._index_bytes = 0
                if not self._index_bytes:
                    self._begin()
                yield self

    def add(self, clips: Iterable[tuple[dict, bytes]]) -> None:
        """Add rows (with `content`) and their int16 samples: all of them or, after an exception or a kill, none. Within `adding` only."""
        rows, end = [], self.end
        try:
            with self.audio.open("r+b") as audio:
                audio.truncate(2 * end)
                audio.seek(2 * end)
                for facts, samples in clips:
                    audio.write(samples)
                    rows.append(facts | {"offset": end, "frames": len(samples) // 2})
                    end += len(samples) // 2
                _flush(audio)
            text = "".join(json.dumps(row) + "\n" for row in rows).encode()
            with (self.folder / INDEX).open("r+b") as index:
                index.truncate(self._index_bytes)
                index.seek(self._index_bytes)
                index.write(text)
                _flush(index)
        except BaseException:  # a full disk gets its room back; rows go first, because they need their samples
            os.truncate(self.folder / INDEX, self._index_bytes)
            os.truncate(self.audio, 2 * self.end)
            raise
        self.rows |= {row["content"]: row for row in rows}
        self.end, self._index_bytes = end, self._index_bytes + len(text)

    def _begin(self) -> None:
        for path in (self.folder / INDEX, *self.folder.glob("audio-*.i16")):  # who has them open keeps them
            path.unlink(missing_ok=True)
        self.rows, self.end = {}, 0
        self.audio = self.folder / f"audio-{secrets.token_hex(4)}.i16"
        self.audio.touch()
        head = json.dumps({"audio": self.audio.name}) + "\n"
        write_text(self.folder / INDEX, head)
        self._index_bytes = len(head)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
