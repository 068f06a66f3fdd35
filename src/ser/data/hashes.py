"""Hashes of files' contents, remembered as long as a file keeps its size and times; and of texts."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pandas as pd

from ser.audio.decoding import stat_regular
from ser.data.cache_folder import in_cache
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv
from ser.runtime.progress import ProgressBar

# A file changed within the clock's resolution of its hashing could keep its times: too young ones are hashed every time.
SETTLED_SECONDS = 2.0


def hash_files(paths: Sequence[str | os.PathLike], cache: str | os.PathLike, title: str = "files") -> list[str | OSError]:
    """blake2b (128 bit) of each file's bytes, in order; an OSError in place of a file that can't be read.

    `cache` is the folder where hashes are remembered by path, size, inode, modification and change time, so that the
    next run only has to look at the files' times.
    """
    memory = Path(cache) / "file_hashes.csv"
    known = _recall(memory)
    results: list[str | OSError | None] = []
    states = []
    for path in paths:
        try:
            states.append(_state(path, stat_regular(path)))
            results.append(known.get(states[-1]))
        except OSError as error:
            states.append("")
            results.append(error)
    unknown = [row for row, result in enumerate(results) if result is None]
    if unknown:
        started = time.time()
        # Hashing and reading leave the interpreter to the other threads.
        with ThreadPoolExecutor(4) as threads:
            hashes = threads.map(_hash, [paths[row] for row in unknown])
            for row, result in zip(unknown, ProgressBar(hashes, f"reading {title}", len(unknown), unit="file"), strict=True):
                results[row] = result
        learned = {states[row]: results[row] for row in unknown if _settled(paths[row], results[row], states[row], started)}
        if learned:
            merged = _recall(memory) | learned  # another process may have added to it
            with suppress(UserError), in_cache(memory):  # a cache that is only read may hold all clips; else the store tells it
                write_csv(memory, pd.DataFrame({"state": merged.keys(), "hash": merged.values()}))
    return results


def _hash(path: str | os.PathLike) -> str | OSError:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        return error


def _settled(path: str | os.PathLike, result: str | OSError, state: str, started: float) -> bool:
    """Whether the file can't have changed unnoticed while it was read."""
    try:
        facts = stat_regular(path)
    except OSError:
        return False
    return isinstance(result, str) and _state(path, facts) == state and facts.st_ctime < started - SETTLED_SECONDS


def _state(path: str | os.PathLike, facts: os.stat_result) -> str:
    name = os.fsencode(Path(path).absolute())
    numbers = f"{facts.st_size} {facts.st_ino} {facts.st_mtime_ns} {facts.st_ctime_ns}"
    return hashlib.blake2b(name + b"\0" + numbers.encode(), digest_size=16).hexdigest()


def _recall(memory: Path) -> dict[str, str]:
    """What is remembered; a damaged memory is none."""
    try:
        table = pd.read_csv(memory, dtype=str)
        good = table["state"].str.fullmatch("[0-9a-f]{32}") & table["hash"].str.fullmatch("[0-9a-f]{32}")
        return dict(zip(table["state"][good], table["hash"][good], strict=True))
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def text_hash(text: str) -> str:
    """128-bit hash of a text, "" for an empty one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if text else ""
