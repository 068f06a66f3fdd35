"""What was computed of single clips, kept on disk: files of a few clips each, keyed by the hash of the decoded samples (what else
makes it stale is up to those who keep something here).

Neither a file's name nor its neighbours matter, and two stores with the same audio share what is there.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from ser.data.cache_folder import in_cache
from ser.runtime.files import atomic_path
from ser.runtime.progress import say

CLIPS_PER_FILE = 32
NO_SUM = b"--------"
"""Stands where the checksum goes while it is computed."""
_SUM = re.compile(rb'"crc32":"([0-9a-f]{8})"')
_whole: set[tuple[Path, int, int]] = set()
"""Files that this process has checked, with their size and time of change."""


def find_clips(folder: Path, wanted: Collection[str]) -> dict[str, Path]:
    """Which file of the folder holds each of the wanted clips; those that are nowhere are left out.

    Damaged files are told and removed, so that what was in them is computed again.
    """
    from safetensors import SafetensorError, safe_open

    wanted, found = set(wanted), {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                there = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118 - not a dict
            if not there & wanted:
                continue
            if not _is_as_written(path):
                raise SafetensorError("not what was written: its checksum is another one")
            found |= dict.fromkeys(there & wanted, path)
        except FileNotFoundError:  # another process has found it damaged
            continue
        except (SafetensorError, OSError) as error:
            say(f"{path}: damaged ({error}); what was kept in it is computed again", sys.stderr)
            with in_cache(folder):
                path.unlink(missing_ok=True)
    return found


def _is_as_written(path: Path) -> bool:
    """Whether the checksum is right, looked at once in a process; files from before there was one are taken as they are."""
    facts = path.stat()
    state = (path, facts.st_size, facts.st_mtime_ns)
    if state not in _whole:
        content = memoryview(path.read_bytes())
        head, data = _parts(content)
        if (told := _SUM.search(head)) and int(told[1], 16) != _sum(head[: told.start(1)] + NO_SUM + head[told.end(1) :], data):
            return False
        _whole.add(state)
    return True


def _parts(content: memoryview) -> tuple[bytes, memoryview]:
    """Header and tensors of a safetensors file."""
    begin = 8 + int.from_bytes(content[:8], "little")
    return bytes(content[:begin]), content[begin:]


def _sum(head: bytes, data: memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(head))


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
    """Write {audio hash: {name: array}} as one file of the folder, all of it or nothing, with a checksum in its header."""
    from safetensors.numpy import save

    arrays = {f"{audio_hash}.{name}": np.ascontiguousarray(values) for audio_hash, of in clips.items() for name, values in of.items()}
    head, data = _parts(memoryview(save(arrays, {"crc32": NO_SUM.decode()})))
    with in_cache(folder), atomic_path(file_of(folder, clips)) as temporary, temporary.open("wb") as file:
        file.write(head.replace(NO_SUM, b"%08x" % _sum(head, data), 1))
        file.write(data)
