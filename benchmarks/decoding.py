"""Reading clips: librosa.load, soundfile (and soxr where the rate is another), and the packed store, which decodes each file once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr

from benchmarks.clips import RATE, make_folder
from benchmarks.measuring import Case, Options, in_turn, quietly
from ser.config import DataConfig
from ser.data.store import ClipStore


def cases(options: Options) -> Iterator[Case]:
    count = options.clips or (20 if options.quick else 400)
    with tempfile.TemporaryDirectory() as folder:
        plain = sorted((make_folder(Path(folder) / "16k", count) / "train").iterdir())
        yield compare(plain, Path(folder) / "cache", options.rounds, "16 kHz mono")
        yield compare(at_44_khz(plain[:100], Path(folder) / "44k"), Path(folder) / "cache", options.rounds, "44.1 kHz stereo")


def compare(paths: list[Path], cache: Path, rounds: int, what: str) -> Case:
    """Every clip once, in a random order; what the store costs at first is a note."""
    with quietly():
        started = time.perf_counter()
        ClipStore.open(paths, DataConfig(cache=str(cache)))
        building = time.perf_counter() - started
        started = time.perf_counter()
        store = ClipStore.open(paths, DataConfig(cache=str(cache)))
        opening = time.perf_counter() - started
    order = np.random.default_rng(0).permutation(len(paths)).tolist()
    in_memory = np.concatenate([store.samples(row) for row in order])

    def every(read: Callable[[int], object]) -> Callable[[], None]:
        return lambda: [read(row) for row in order] and None

    ways = {
        "librosa.load": every(lambda row: librosa.load(paths[row], sr=RATE)[0]),
        "soundfile (+ soxr)": every(lambda row: by_soundfile(paths[row])),
        "packed store": every(lambda row: store[row]),
        "limit: the samples to float32, in one piece": lambda: (in_memory.astype(np.float32) / 32768) is None or None,
    }
    notes = {"store built / opened again": f"{building:.2f} s / {opening:.3f} s"}
    return Case(f"read, {what}", in_turn(ways, rounds), len(paths), "clips", notes)


def by_soundfile(path: Path) -> np.ndarray:
    wave, rate = soundfile.read(path, dtype="float32")
    mono = wave if wave.ndim == 1 else wave @ np.full(wave.shape[1], 1 / wave.shape[1], np.float32)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE, quality="HQ")


def at_44_khz(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    for path in paths:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(wave.mean(axis=1), rate, 44_100)
        soundfile.write(folder / path.name, np.stack([mono, mono], axis=1), 44_100, subtype="PCM_16")
    return [folder / path.name for path in paths]
