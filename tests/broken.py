"""Damaged audio files for tests: a good file of some format, and a seed that says what happens to its bytes."""

from __future__ import annotations

import functools
import os
import random
import tempfile
from pathlib import Path

from sounds import KINDS

VICTIMS = ["wav", "24 bit", "float", "stereo 48 kHz", "flac", "ogg", "opus", "mp3", "mp3 by ffmpeg", "m4a", "film", "webm"]
HEADER_BYTES = 300
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0"]


def examples(default: int) -> int:
    """How many examples a property test runs: SER_EXAMPLES, or the default."""
    return int(os.environ.get("SER_EXAMPLES", default))


@functools.cache
def good_bytes(name: str) -> bytes:
    """The bytes of a file of one of the KINDS."""
    with tempfile.TemporaryDirectory() as folder:
        return KINDS[name].make(Path(folder)).read_bytes()


def broken_bytes(name: str, seed: int) -> bytes:
    """The file after 1 to 64 random changes: bytes overwritten, removed, inserted, repeated, the end cut off; mostly in the header."""
    dice = random.Random(seed)  # noqa: S311
    data = bytearray(good_bytes(name))
    for _ in range(dice.choice([1, 1, 2, 4, 16, 64])):
        place = dice.randrange(len(data) if dice.random() < 0.4 else min(len(data), HEADER_BYTES)) if data else 0
        match dice.choices(["byte", "extreme", "remove", "insert", "repeat", "cut"], [50, 20, 10, 10, 5, 5])[0]:
            case "byte":
                data[place : place + 1] = dice.randbytes(1)
            case "extreme":
                data[place : place + 4] = dice.choice(EXTREMES)
            case "remove":
                del data[place : place + dice.randrange(64)]
            case "insert":
                data[place:place] = dice.randbytes(dice.randrange(64))
            case "repeat":
                data[place:place] = data[:place][:100_000]
            case "cut":
                del data[place:]
    return bytes(data[:1_000_000])
