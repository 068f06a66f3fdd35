"""The packed clip store, the cache of decoded audio: every file, known by its bytes, is decoded and resampled once, then read from one
int16 memory map; which settings share a folder.

A clip is known by its file's bytes; all clips decoded by the same settings lie in one folder (`ser.data.packed`), to which new ones are
added. So a changed file costs one decoding, and a moved or renamed data folder finds its clips again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser.audio import SAMPLE_RATE, UNUSABLE, Clip, decode_all, to_float
from ser.audio.decoding import extension, unopened
from ser.config import DataConfig
from ser.data.cache_folder import in_cache
from ser.data.hashes import hash_files
from ser.data.packed import Damaged, PackedFolder
from ser.runtime.errors import UserError
from ser.runtime.progress import ProgressBar

FORMAT = 2  # raise it when decoding changes what a file becomes
ADDED_AT_ONCE = 512  # clips that a kill may cost
FACTS = ["status", "notes", "detail", "seconds", "source_rate", "source_channels", "peak_db", "rms_db"]
REPORT = ["path", "status", "notes", "detail", "seconds", "source_rate", "source_channels", "file_hash", "audio_hash", "peak_db", "rms_db"]


class ClipStore:
    """The clips of a list of files, by position: `store[3]` is the float32 wave of the fourth.

    report: one row per path, in order (columns REPORT; notes joined by spaces; file_hash, of the bytes, is a clip's identity, "" where
    there is no file to read; audio_hash, of the decoded samples, finds duplicates, "" where the clip is unusable).
    frames: int64 (n,), samples per clip, 0 where unusable. usable: bool (n,). audio: the int16 samples, or their file;
    folder: where that lies, beside which more of these clips can be kept (None for clips in memory).
    Small to pickle: each process opens the memory map for itself.
    """

    def __init__(self, audio: Path | np.ndarray, report: pd.DataFrame, offsets: np.ndarray, frames: np.ndarray) -> None:
        self.audio, self.report, self.offsets, self.frames = audio, report, offsets, frames
        self.usable = ~report["status"].isin(UNUSABLE).to_numpy(bool)
        self.folder = audio.parent if isinstance(audio, Path) else None
        self._mapped: np.ndarray | None = None
        self._kept: dict[str, dict[str, Any]] = {}

    @classmethod
    def open(cls, paths: Sequence[str | os.PathLike], config: DataConfig, title: str = "clips") -> ClipStore:
        """The store of these files; those that aren't in `config.cache` yet, decoded by the same settings, are decoded now.

        Never raises for a bad file: its row of the report says what is wrong with it.
        """
        hashes = hash_files(paths, config.cache, title)
        contents = [_content(path, file_hash) for path, file_hash in zip(paths, hashes, strict=True)]
        files = {content: path for content, path, file_hash in zip(contents, paths, hashes, strict=True) if isinstance(file_hash, str)}
        unreadable = {content: error for content, error in zip(contents, hashes, strict=True) if isinstance(error, OSError)}
        packed = _open_or_add(dict(sorted(files.items())), config, title)
        nothing = {"offset": 0, "frames": 0}
        rows = packed.rows | {content: _row(unopened(error), content, b"") | nothing for content, error in unreadable.items()}
        table = pd.DataFrame([rows[content] for content in contents], columns=[*FACTS, "audio_hash", "offset", "frames"])
        table["path"] = [_printable(path) for path in paths]
        table["file_hash"] = [file_hash if isinstance(file_hash, str) else "" for file_hash in hashes]
        return cls(packed.audio, table[REPORT], table["offset"].to_numpy(np.int64), table["frames"].to_numpy(np.int64))

    @classmethod
    def of_samples(cls, samples: Sequence[np.ndarray]) -> ClipStore:
        """Clips in memory, e.g. cut from a recording: int16 (T,) at 16 kHz each."""
        frames = np.array([len(clip) for clip in samples], np.int64)
        report = pd.DataFrame({"status": "ok", "audio_hash": [hash_samples(clip.tobytes()) for clip in samples]}).reindex(columns=REPORT)
        audio = np.concatenate([np.zeros(0, np.int16), *samples])
        return cls(audio, report, np.cumsum(frames) - frames, frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> np.ndarray:
        """The clip as float32 (T,) in [-1, 1). Raises UnusableClip where there is none."""
        if not self.usable[row]:
            facts = self.report.iloc[row]
            raise UnusableClip(f"clip {row} ({facts['path']}) is {facts['status']}: {facts['detail']}. Check `usable` before reading.")
        return to_float(self.samples(row))

    def samples(self, row: int) -> np.ndarray:
        """The clip as int16 (T,)."""
        if self._mapped is None:
            # Other processes add to the file: it may be longer than what is known here.
            end = int((self.offsets + self.frames).max())
            self._mapped = self.audio if isinstance(self.audio, np.ndarray) else np.memmap(self.audio, np.int16, "r", shape=(end,))
        start = self.offsets[row]
        return self._mapped[start : start + self.frames[row]]

    def take(self, rows: np.ndarray | Sequence[int]) -> ClipStore:
        """The clips of the given rows (positions, or a boolean array), in the given order."""
        rows = np.arange(len(self))[rows]
        taken = ClipStore(self.audio, self.report.iloc[rows].reset_index(drop=True), self.offsets[rows], self.frames[rows])
        taken._kept = self._kept
        return taken

    def kept(self, by: str) -> dict[str, Any]:
        """What was computed of these clips, by audio_hash, in memory and for as long as they are: to be added to. by: by what."""
        return self._kept.setdefault(by, {})

    def longest(self, rows: np.ndarray) -> str:
        """The length of the longest of these clips, for a message."""
        return f"{self.frames[rows].max() / SAMPLE_RATE:.1f} s"

    def __getstate__(self) -> dict:
        # A pickled memory map becomes a copy of the whole file.
        return self.__dict__ | {"_mapped": None, "_kept": {}}


class JoinedClips(ClipStore):
    """Several stores as one, the clips of the first before those of the second; what is computed of them is kept beside the first."""

    def __init__(self, parts: Sequence[ClipStore]) -> None:
        joined = pd.concat([part.report for part in parts], ignore_index=True)
        offsets, frames = (np.concatenate([getattr(part, name) for part in parts]) for name in ("offsets", "frames"))
        super().__init__(parts[0].audio, joined, offsets, frames)
        self.parts, self.starts = tuple(parts), np.cumsum([0, *map(len, parts)])

    def samples(self, row: int) -> np.ndarray:
        """The clip as int16 (T,)."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part].samples(row - self.starts[part])

    def take(self, rows: np.ndarray | Sequence[int]) -> ClipStore:
        """Not offered: the rows of several stores make none."""
        raise TypeError("take rows of the parts, and join them again")


class UnusableClip(LookupError):
    """A clip was asked for that has no samples. It is never replaced by zeros."""


def _content(path: str | os.PathLike, file_hash: str | OSError) -> str:
    """What a clip depends on: the bytes, and the extension (it is reported when it doesn't fit); or why there are none."""
    return f"errno {file_hash.errno}" if isinstance(file_hash, OSError) else file_hash + extension(path)


def _row(clip: Clip, content: str, samples: bytes) -> dict:
    """What the index says of a clip."""
    facts = {name: getattr(clip, name) for name in FACTS} | {"notes": " ".join(clip.notes)}
    return facts | {"content": content, "audio_hash": hash_samples(samples)}


def hash_samples(samples: bytes) -> str:
    """128-bit hash of decoded samples, "" where there are none."""
    return hashlib.blake2b(samples, digest_size=16).hexdigest() if samples else ""


def _open_or_add(files: dict[str, Path], config: DataConfig, title: str) -> PackedFolder:
    """The packed folder of the decode settings, with these contents in it."""
    settings = f"{FORMAT} {float(config.min_seconds)} {float(config.max_seconds)}" + " noise_reduction" * config.noise_reduction
    packed = PackedFolder(Path(config.cache).absolute() / f"clips-{hashlib.blake2b(settings.encode(), digest_size=8).hexdigest()}")
    try:
        with in_cache(packed.folder):
            packed.read()
    except Damaged:
        packed.rows = {}
    if not files.keys() <= packed.rows.keys():
        with packed.adding():
            _add({content: path for content, path in files.items() if content not in packed.rows}, packed, config, title)
    return packed


def _add(missing: dict[str, Path], packed: PackedFolder, config: DataConfig, title: str) -> None:
    """Decode files into the folder, some at a time: what is there stays there, whatever happens to the rest."""
    clips = decode_all(list(missing.values()), config.min_seconds, config.max_seconds, config.noise_reduction)
    decoded = zip(missing.items(), clips, strict=True)
    with closing(clips), ProgressBar(decoded, f"decoding {title}", len(missing)) as bar:
        decoded = iter(bar)
        for _ in range(0, len(missing), ADDED_AT_ONCE):
            packed.add(_checked(islice(decoded, ADDED_AT_ONCE), config))


def _checked(decoded: Iterable[tuple[tuple[str, Path], Clip]], config: DataConfig) -> Iterator[tuple[dict, bytes]]:
    """Rows and samples. What was decoded must be what was hashed, or the store would give out wrong clips for ever."""
    files = {}
    for (content, path), clip in decoded:
        files[content] = path
        samples = b"" if clip.samples is None else clip.samples.tobytes()
        yield _row(clip, content, samples), samples
    hashes = hash_files(list(files.values()), config.cache, "files again")
    changed = [path for (content, path), now in zip(files.items(), hashes, strict=True) if _content(path, now) != content]
    if changed:
        raise UserError(
            f"{changed[0]}: changed while it was being decoded ({len(changed)} such files). Run again when the data is complete."
        )


def _printable(path: str | os.PathLike) -> str:
    """The path as text; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
