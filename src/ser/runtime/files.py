"""Writing files (numbers in CSVs with nine digits) so that a crash, a kill or a full disk never leaves half of one.

Everything goes to a temporary name beside the target, is flushed to the disk, and takes the target's
name in one step. Readers see the old file or the new one, never a mixture.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

LEFTOVER = re.compile(r"\..+\.(?:tmp|old)-(\d+)(?:\.\w+)?")
"""Names of half-written files and folders, and the process that wrote."""
SETTLED_SECONDS = 60.0
LFS_BYTES = 1024
UMASK = os.umask(0)
os.umask(UMASK)  # it can only be read by setting it


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it replaces `path`, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, since writers such as matplotlib choose their format by it.
    temporary = path.with_name(f".{path.stem}.tmp-{os.getpid()}{path.suffix}")
    try:
        with system_errors_of(path, temporary):
            yield temporary
            _finish_file(temporary)
            temporary.replace(path)
            _flush_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces the folder `path`, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with system_errors_of(path, temporary):
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                _flush_to_disk(file) if file.is_dir() else _finish_file(file)
            # A folder can't be replaced in one step: the old one is moved aside first.
            old = path.with_name(f".{path.name}.old-{os.getpid()}")
            if path.exists():
                path.replace(old)
            temporary.replace(path)
            _flush_to_disk(path.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[bool]:
    """One process at a time holds the lock (yields true), the others wait; it ends with its process, however that ends.

    Without `wait` the block is entered in any case, and false says that another process holds the lock.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def remove_leftovers(folder: str | Path, alone: bool) -> None:
    """Remove what a killed process left half-written right in `folder`.

    alone: nobody else can be writing there. Otherwise what is young, or of a living process, stays.
    """
    for path in Path(folder).glob(".*"):
        found = LEFTOVER.fullmatch(path.name)
        with suppress(OSError):
            if found and (alone or (not _is_alive(int(found[1])) and time.time() - path.stat().st_mtime > SETTLED_SECONDS)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write readable JSON atomically; numpy numbers and arrays are allowed, NaN is not."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain, allow_nan=False)
    write_text(path, text + "\n")


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV atomically: no index, 9 significant digits (a float32 survives the round trip)."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON file written by `write_json`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def lfs_pointer(folder: Path, patterns: Sequence[str] = ("*.json", "*.safetensors", "*.txt", "*.model")) -> str | None:
    """What to do about such a file right in the folder that git-lfs has left as a pointer to its content; None where there is none."""
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        if path.is_file() and path.stat().st_size < LFS_BYTES and path.read_bytes().startswith(b"version https://git-lfs"):
            return f"{path.name} is a git-lfs pointer of {path.stat().st_size} bytes: run `git lfs pull` where the folder came from."
    return None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


@contextmanager
def system_errors_of(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let what the system says about the temporary file (or what lies in `path`) be said of `path`, as an OSError whatever library wrote.

    safetensors has an exception of its own for a full disk, with the system's number in its text.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename).startswith(str(temporary or path))):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    except Exception as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
        raise


def _finish_file(path: Path) -> None:
    """Give the file the permissions that new files have (safetensors makes private ones) and flush it to the disk."""
    path.chmod(0o666 & ~UMASK)
    _flush_to_disk(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
