"""The packed clip store: every file is decoded and resampled once, then read from one int16 memory map.

The store of a set of files is a folder `clips-KEY` with `audio.i16` (all samples one after another) and `index.csv` (one row
per file content). KEY follows from the files' bytes, the decode settings and FORMAT, so a changed file makes a new
store and a moved or renamed data folder finds its old one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ser.audio import SAMPLE_RATE, UNUSABLE, Clip, decode_all, to_float
from ser.audio.decoding import extension, unopened
from ser.config import DataConfig
from ser.data.hashes import hash_files
from ser.data.tables import Voice
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, write_csv

FORMAT = 1  # raise it when decoding changes what a file becomes
FACTS = ["status", "notes", "detail", "seconds", "source_rate", "source_channels", "peak_db", "rms_db"]
REPORT = ["path", "status", "notes", "detail", "seconds", "source_rate", "source_channels", "file_hash", "audio_hash", "peak_db", "rms_db"]
INDEX = [*FACTS, "content", "audio_hash", "offset", "frames"]
TEXTS = ["status", "notes", "detail", "content", "audio_hash"]


class ClipStore:
    """The clips of a list of files, by position: `store[3]` is the float32 wave of the fourth.

    report: one row per path, in order (columns REPORT; notes joined by spaces; file_hash "" where there is no file to read,
    audio_hash "" where the clip is unusable). frames: int64 (n,), samples per clip, 0 where unusable.
    usable: bool (n,). voices: who speaks in each clip, set by whoever knows it.
    Small to pickle: each process opens the memory map for itself.
    """

    def __init__(self, folder: Path | None, report: pd.DataFrame, offsets: np.ndarray, frames: np.ndarray) -> None:
        self.folder, self.report, self.offsets, self.frames = folder, report, offsets, frames
        self.usable = ~report["status"].isin(UNUSABLE).to_numpy()
        self.voices: Sequence[Voice] | None = None
        self._audio: np.ndarray | None = None

    @classmethod
    def open(cls, paths: Sequence[str | os.PathLike], config: DataConfig, title: str = "clips") -> ClipStore:
        """The store of these files, decoded now if it isn't in `config.cache` yet.

        Never raises for a bad file: its row of the report says what is wrong with it.
        """
        hashes = hash_files(paths, config.cache, title)
        contents = [_content(path, file_hash) for path, file_hash in zip(paths, hashes, strict=True)]
        files = {content: path for content, path, file_hash in zip(contents, paths, hashes, strict=True) if isinstance(file_hash, str)}
        unreadable = {content: error for content, error in zip(contents, hashes, strict=True) if isinstance(error, OSError)}
        folder, index = _open_or_build(dict(sorted(files.items())), config, title) if files else (None, pd.DataFrame(columns=INDEX))
        if unreadable:
            rows = [_row(unopened(error), content, b"", 0) for content, error in unreadable.items()]
            index = pd.concat([index, pd.DataFrame(rows)]) if files else pd.DataFrame(rows)
        table = index.set_index("content").loc[contents]
        table["path"] = [_printable(path) for path in paths]
        table["file_hash"] = [file_hash if isinstance(file_hash, str) else "" for file_hash in hashes]
        return cls(folder, table[REPORT].reset_index(drop=True), table["offset"].to_numpy(np.int64), table["frames"].to_numpy(np.int64))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> np.ndarray:
        """The clip as float32 (T,) in [-1, 1). Raises UnusableClip where there is none."""
        if not self.usable[row]:
            facts = self.report.iloc[row]
            raise UnusableClip(f"clip {row} ({facts['path']}) is {facts['status']}: {facts['detail']}. Check `usable` before reading.")
        if self._audio is None:
            self._audio = np.memmap(self.folder / "audio.i16", np.int16, "r")
        start = self.offsets[row]
        return to_float(self._audio[start : start + self.frames[row]])

    def take(self, rows: np.ndarray | Sequence[int]) -> ClipStore:
        """The clips of the given rows (positions, or a boolean array), in the given order."""
        rows = np.arange(len(self))[rows]
        return ClipStore(self.folder, self.report.iloc[rows].reset_index(drop=True), self.offsets[rows], self.frames[rows])

    def longest(self, rows: np.ndarray) -> str:
        """The length of the longest of these clips, for a message."""
        return f"{self.frames[rows].max() / SAMPLE_RATE:.1f} s"

    def __getstate__(self) -> dict:
        # A pickled memory map becomes a copy of the whole file.
        return self.__dict__ | {"_audio": None}


class UnusableClip(LookupError):
    """A clip was asked for that has no samples. It is never replaced by zeros."""


def _content(path: str | os.PathLike, file_hash: str | OSError) -> str:
    """What a clip depends on: the bytes, and the extension (it is reported when it doesn't fit); or why there are none."""
    return f"errno {file_hash.errno}" if isinstance(file_hash, OSError) else file_hash + extension(path)


def _row(clip: Clip, content: str, samples: bytes, offset: int) -> dict:
    """One row of index.csv."""
    facts = {name: getattr(clip, name) for name in FACTS} | {"notes": " ".join(clip.notes)}
    audio_hash = hashlib.blake2b(samples, digest_size=16).hexdigest() if samples else ""
    return facts | {"content": content, "audio_hash": audio_hash, "offset": offset, "frames": len(samples) // 2}


def _open_or_build(files: dict[str, Path], config: DataConfig, title: str) -> tuple[Path, pd.DataFrame]:
    settings = f"{FORMAT} {float(config.min_seconds)} {float(config.max_seconds)}" + " noise_reduction" * config.noise_reduction
    key = hashlib.blake2b("\n".join([settings, *files]).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    folder = Path(config.cache) / f"clips-{key}"
    index = _read(folder, files)
    if index is None:
        with _locked(folder):
            index = _read(folder, files)  # another process may have built it meanwhile
            if index is None:
                if folder.exists():
                    print(f"{folder}: damaged, its clips are decoded again", file=sys.stderr)
                _build(folder, files, config, title)
                index = _read(folder, files)
    if index is None:
        raise UserError(f"{folder}: can't be read back after writing it. Is the disk sound? Another data.cache may help.")
    return folder, index


def _read(folder: Path, files: dict[str, Path]) -> pd.DataFrame | None:
    """The index of a complete store; None where there is none or it is damaged."""
    try:
        index = pd.read_csv(
            folder / "index.csv", dtype=dict.fromkeys(TEXTS, str), keep_default_na=False, na_values={"peak_db": [""], "rms_db": [""]}
        )
        whole = index["content"].tolist() == list(files) and (folder / "audio.i16").stat().st_size == 2 * int(index["frames"].sum())
        whole = whole and (index["offset"].to_numpy() == np.cumsum(index["frames"]) - index["frames"]).all()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _build(folder: Path, files: dict[str, Path], config: DataConfig, title: str) -> None:
    for left_over in folder.parent.glob(f".{folder.name}.*-*"):  # of a build that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    rows, offset = [], 0
    with atomic_folder(folder) as temporary:
        with (temporary / "audio.i16").open("wb") as audio:
            clips = decode_all(list(files.values()), config.min_seconds, config.max_seconds, config.noise_reduction)
            for content, clip in zip(files, tqdm(clips, f"decoding {title}", len(files), unit="clip", delay=2, disable=None), strict=True):
                samples = b"" if clip.samples is None else clip.samples.tobytes()
                audio.write(samples)
                rows.append(_row(clip, content, samples, offset))
                offset += len(samples) // 2
        write_csv(temporary / "index.csv", pd.DataFrame(rows))
        _check_unchanged(files, config)


def _check_unchanged(files: dict[str, Path], config: DataConfig) -> None:
    """What was decoded must be what was hashed, or the store would give out wrong clips for ever."""
    hashes = hash_files(list(files.values()), config.cache, "files again")
    changed = [path for (content, path), now in zip(files.items(), hashes, strict=True) if _content(path, now) != content]
    if changed:
        raise UserError(
            f"{changed[0]}: changed while it was being decoded ({len(changed)} such files). Run again when the data is complete."
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process builds a store, others wait for it. The lock ends with its process, however that ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _printable(path: str | os.PathLike) -> str:
    """The path as text; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
