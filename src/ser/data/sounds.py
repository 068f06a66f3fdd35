"""Sounds of the user's that are laid over clips: backgrounds and impulse responses, decoded once into the packed store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ser.audio.container import ENDINGS
from ser.config import DataConfig
from ser.data.store import ClipStore
from ser.runtime.errors import UserError

LONGEST_SECONDS = 60.0
SHORTEST_SECONDS = 0.002  # the response of a small loudspeaker
TOLD = 10


def open_sounds(folder: str | None, cache: str, key: str) -> ClipStore:
    """All sounds below a folder, by path, the first minute of each. key: of the config, for messages.

    Raises UserError where no folder is given, where there are no sounds in it, and where one of them can't be used.
    """
    if folder is None:
        raise UserError(f"{key}.p is above 0, but no sounds are given. Name their folder with --{key}.folder, or set {key}.p to 0.")
    root = Path(folder)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not files:
        raise UserError(f"{key}.folder: {folder} {'holds no audio files' if root.is_dir() else 'is no folder'}. Name a folder of sounds.")
    settings = DataConfig(cache=cache, min_seconds=SHORTEST_SECONDS, max_seconds=LONGEST_SECONDS)
    sounds = ClipStore.open(files, settings, f"sounds of {key}.folder")
    bad = np.flatnonzero(~sounds.usable)
    if len(bad):
        lines = [f"  {sounds.report['path'][row]}  {sounds.report['status'][row]}" for row in bad[:TOLD]]
        more = [f"  … and {len(bad) - TOLD} more"] if len(bad) > TOLD else []
        raise UserError("\n".join([f"{key}.folder: {len(bad)} of {len(files)} sounds can't be used; remove them:", *lines, *more]))
    return sounds
