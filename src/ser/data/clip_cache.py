"""What was computed of single clips, kept on disk: files of a few clips each, keyed by the hash of the decoded samples.

Neither a file's name nor its neighbours matter, and two stores with the same audio share what is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from ser.data.cache_folder import in_cache
from ser.runtime.files import atomic_path

CLIPS_PER_FILE = 32


def find_clips(folder: Path, wanted: Collection[str]) -> dict[str, Path]:
    """Which file of the folder holds each of the wanted clips; those that are nowhere are left out. Damaged files are removed."""
    from safetensors import SafetensorError, safe_open

    wanted, found = set(wanted), {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                there = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118 - not a dict
                found |= dict.fromkeys(there & wanted, path)
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
    return found


def read_clips(found: Mapping[str, Path]) -> dict[str, dict[str, np.ndarray]]:
    """{audio hash: {name: array}} of the clips that `find_clips` found; every file is opened once."""
    from safetensors import safe_open

    clips: dict[str, dict[str, np.ndarray]] = {audio_hash: {} for audio_hash in found}
    for path in sorted(set(found.values())):
        with safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                audio_hash, name = key.split(".", 1)
                if found.get(audio_hash) == path:
                    clips[audio_hash][name] = file.get_tensor(key)
    return clips


def file_of(folder: Path, hashes: Iterable[str]) -> Path:
    """The file that `write_clips` makes of just these clips."""
    return folder / f"{hashlib.blake2b(''.join(sorted(hashes)).encode(), digest_size=16).hexdigest()}.safetensors"


def write_clips(folder: Path, clips: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write {audio hash: {name: array}} as one file of the folder, all of it or nothing."""
    from safetensors.numpy import save_file

    arrays = {f"{audio_hash}.{name}": np.ascontiguousarray(values) for audio_hash, of in clips.items() for name, values in of.items()}
    with in_cache(folder), atomic_path(file_of(folder, clips)) as temporary:
        save_file(arrays, temporary)
