"""Finding the audio below a folder, in a stable order: what is none is left out and told, an emotion's folder without clips refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ser.audio.container import recognise
from ser.data.csv_input import count, shown
from ser.data.label_column import OWN
from ser.data.labels import is_emotion
from ser.data.paths import is_audio_name
from ser.runtime.errors import UserError
from ser.runtime.progress import say


def audio_below(root: Path, allow_outside: bool) -> list[str]:
    """The paths of all audio files below `root`, relative to it, with `/`, sorted.

    Whatever has an audio or video file's name counts, even a folder, and a file of any other name that has such content, so that
    nothing is lost without a word: decoding gives it a status. What is no audio is counted and named on stderr; hidden files and
    folders are left out. Unless `allow_outside`, a symbolic link that leads out of `root` raises UserError; so does a name that
    isn't UTF-8.
    """
    real_root = os.path.realpath(root)
    found, outside, others = [], [], []
    seen: set[str] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(root / folder):
            name = f"{folder}{entry.name}"
            if entry.name.startswith("."):
                continue
            is_audio = is_audio_name(entry.name) or _holds_audio(entry)
            if not (is_audio or _is_folder(entry)):
                others.append(name)
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
    if others:
        say(f"{root}: {count(others, 'file')} left out, no audio by name or content: {shown(sorted(others))}", file=sys.stderr)
    return sorted(found)


def one_data_set_below(root: Path, allow_outside: bool) -> list[str]:
    """As `audio_below`, but for folders in `root` with a train.csv: each is a data set of its own (input/demo), left out and told."""
    names = audio_below(root, allow_outside)
    apart = sorted({first for first in (name.partition("/")[0] for name in names) if (root / first / "train.csv").is_file()})
    if apart:
        say(f"{root}: {shown(apart)} left out, data of its own with a train.csv (--data.root {root / apart[0]})", file=sys.stderr)
    return [name for name in names if name.partition("/")[0] not in apart]


def check_every_class_has_clips(root: Path, used: Sequence[str], labels: str) -> None:
    """Raises UserError where a folder named after an emotion isn't among the folders `used` by clips: its class would vanish.

    And where no folder is, but a table lies beside them. labels: data.labels.
    """
    tables = sorted(root.glob("*.csv"))
    if tables and labels != OWN and not any(map(is_emotion, used)):
        raise UserError(
            f"{root}: none of its folders is named after an emotion ({shown(sorted(set(used)))}), but there is a table: --data.root "
            f"{tables[0]} reads that."
        )
    folders = [entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False) and is_emotion(entry.name)]
    empty = sorted(set(folders) - set(used))
    if empty:
        raise UserError(
            f"{root}: no audio in {count(empty, 'folder')} named after an emotion: {shown(empty)}. Its class would be missing: "
            "put clips there, or take the folder away."
        )


def _holds_audio(entry: os.DirEntry) -> bool:
    try:
        if not entry.is_file():  # a pipe must not be opened
            return False
        with Path(entry.path).open("rb", buffering=0) as file:
            return recognise(file.fileno()) is not None
    except OSError:
        return False


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
