"""Finding the audio below a folder, in a stable order."""

from __future__ import annotations

import os
from pathlib import Path

from ser.data.csv_input import count, shown
from ser.data.paths import is_audio_name
from ser.runtime.errors import UserError


def audio_below(root: Path, allow_outside: bool) -> list[str]:
    """The paths of all audio files below `root`, relative to it, with `/`, sorted.

    Hidden files and folders are left out. Whatever has an audio file's name counts, even a folder, so that nothing is lost
    without a word: decoding gives it a status. Unless `allow_outside`, a symbolic link that leads out of `root` raises
    UserError; so does a name that isn't UTF-8.
    """
    real_root = os.path.realpath(root)
    found, outside = [], []
    seen: set[str] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(root / folder):
            name = f"{folder}{entry.name}"
            is_audio = is_audio_name(entry.name)
            if entry.name.startswith(".") or not (is_audio or _is_folder(entry)):
                continue
            real = os.path.realpath(entry.path)
            within = f"{real}/".startswith(f"{real_root.rstrip('/')}/")
            if not (within or allow_outside):
                outside.append(name)
            elif is_audio:
                found.append(name)
            elif not (entry.is_symlink() and within) and real not in seen:
                # A link to a folder that is walked anyway would give its clips twice, or lead round in a circle.
                seen.add(real)
                folders.append(f"{name}/")
    if outside:
        raise UserError(
            f"{root}: {count(outside, 'symbolic link')} out of the folder: {shown(sorted(outside))}. "
            "If you trust them, say --data.allow_absolute_paths true."
        )
    _check_utf8(root, found)
    return sorted(found)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _check_utf8(root: Path, names: list[str]) -> None:
    damaged = [name for name in names if not _is_utf8(name)]
    if damaged:
        raise UserError(
            f"{root}: {count(damaged, 'file name')} not in UTF-8: {shown(sorted(damaged))}. "
            "An archive made on Korean Windows has names in cp949: unpack it with `unzip -O cp949`, "
            "or rename the files with `convmv -f cp949 -t utf8 -r --notest`."
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
