"""From a path written in a CSV to a file on disk, which must lie under the CSV's folder; which file names count as audio."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ser.audio.container import ENDINGS
from ser.data.csv_input import count, shown
from ser.data.text_input import visible
from ser.runtime.errors import UserError


def is_audio_name(name: str) -> bool:
    """Whether a file name has the extension of audio this project reads (in any case)."""
    return name.lower().endswith(ENDINGS) and not name.startswith("._")


def resolve_paths(written: Sequence[str], folder: Path, allow_outside: bool, where: Path) -> tuple[Path, ...]:
    """The file of each path as written in the CSV `where`, taken from `folder`.

    A Korean name composed (NFC) in the CSV and decomposed (NFD) on disk, or the reverse, is found, and so is one with invisible signs
    on disk. A file that doesn't exist keeps its path: its clip gets the status `missing` when it is decoded. Unless `allow_outside`,
    an absolute path and one that leads out of `folder` (by `..` or a symbolic link) raise UserError. `~` is the home folder.
    """
    finder = _Finder(folder)
    paths = [finder.find(text) for text in written]
    broken = [text for text, path in zip(written, paths, strict=True) if path is None]
    if broken:
        raise UserError(f"{where}: {count(broken, 'row')} whose path is empty or holds a NUL: {shown(broken)}.")
    if not allow_outside:
        outside = [text for text, path in zip(written, paths, strict=True) if not finder.inside(text, path)]
        if outside:
            raise UserError(
                f"{where}: {count(outside, 'path')} outside its folder {folder}: {shown(outside)}. "
                "Paths must be relative and stay in the folder; for a CSV you trust, say --data.allow_absolute_paths true."
            )
    return tuple(paths)


class _Finder:
    """Finds files under one folder; lists each folder at most once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.real_folder = os.path.realpath(folder)
        self.names: dict[str, dict[str, str]] = {}

    def find(self, text: str) -> Path | None:
        text = _slashes(text)
        if not text or "\0" in text:
            return None
        path = self.folder / text
        return path if os.path.lexists(path) else self._composed_otherwise(path)

    def inside(self, text: str, path: Path) -> bool:
        # realpath follows `..` and symbolic links as the system would.
        real = os.path.realpath(path)
        return not _is_absolute(_slashes(text)) and real.startswith(self.real_folder.rstrip(os.sep) + os.sep)

    def _composed_otherwise(self, path: Path) -> Path:
        found = Path(path.anchor)
        for part in path.relative_to(path.anchor).parts:
            step = found / part
            if not os.path.lexists(step):
                step = found / self._names_in(str(found)).get(_as_seen(part), part)
            found = step
        return found

    def _names_in(self, folder: str) -> dict[str, str]:
        if folder not in self.names:
            try:
                self.names[folder] = {_as_seen(name): name for name in sorted(path.name for path in Path(folder).iterdir())}
            except OSError:
                self.names[folder] = {}
        return self.names[folder]


def _as_seen(name: str) -> str:
    return unicodedata.normalize("NFC", visible(name))


def _slashes(text: str) -> str:
    """Windows writes `.\\train\\a.wav`. A home folder is an absolute path."""
    text = text.strip().replace("\\", "/")
    return str(Path(text).expanduser()) if text.startswith("~/") and "\0" not in text else text


def _is_absolute(text: str) -> bool:
    return text.startswith("/") or re.match(r"[A-Za-z]:", text) is not None
