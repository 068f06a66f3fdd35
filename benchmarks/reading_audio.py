"""Reading clips for training: librosa.load, soundfile, and the packed clip store, side by side.

    python benchmarks/reading_audio.py
    python benchmarks/reading_audio.py --folder input/train --repeats 5

Prints clips per second and the ratio to librosa.load, first for the files as they are (16 kHz wav, where none is given), then
for the same clips at 44.1 kHz stereo, which the first two resample at every epoch.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr

from ser.config import DataConfig
from ser.data.store import ClipStore

RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder with wav files; 400 clips of noise are made without it")
    parser.add_argument("--clips", type=int, default=400, help="at most so many clips")
    parser.add_argument("--repeats", type=int, default=5, help="passes over the clips; the median counts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(given.folder.rglob("*.wav"))[: given.clips] if given.folder else make_clips(Path(folder) / "16k", given.clips)
        compare(paths, Path(folder) / "cache", given.repeats, "as they are")
        compare(at_44_khz(paths[:100], Path(folder) / "44k"), Path(folder) / "cache", given.repeats, "at 44.1 kHz stereo")


def compare(paths: list[Path], cache: Path, repeats: int, what: str) -> None:
    """Time the three ways in turns, so that a busy machine slows all of them."""
    started = time.perf_counter()
    store = ClipStore.open(paths, DataConfig(cache=str(cache)))
    building = time.perf_counter() - started
    started = time.perf_counter()
    store = ClipStore.open(paths, DataConfig(cache=str(cache)))
    opening = time.perf_counter() - started

    def packed(row: int) -> np.ndarray:
        return store[row]

    ways: dict[str, Callable[[int], np.ndarray]] = {
        "librosa.load": lambda row: librosa.load(paths[row], sr=RATE)[0],
        "soundfile (+ soxr)": lambda row: by_soundfile(paths[row]),
        "packed store": packed,
    }
    order = list(range(len(paths)))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        random.shuffle(order)
        for name, read in ways.items():
            started = time.perf_counter()
            for row in order:
                read(row)
            seconds[name].append(time.perf_counter() - started)
    speeds = {name: len(paths) / statistics.median(times[1:]) for name, times in seconds.items()}  # the first pass warms the disk cache
    print(f"{len(paths)} clips {what}: store built in {building:.2f} s, opened again in {opening:.3f} s")
    for name, speed in speeds.items():
        print(f"  {name:20} {speed:10,.0f} clips/s   {speed / speeds['librosa.load']:6.1f} x librosa.load")


def by_soundfile(path: Path) -> np.ndarray:
    wave, rate = soundfile.read(path, dtype="float32")
    mono = wave if wave.ndim == 1 else wave @ np.full(wave.shape[1], 1 / wave.shape[1], np.float32)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE, quality="HQ")


def make_clips(folder: Path, count: int) -> list[Path]:
    """Clips of 1.3 to 5 s, mean about 2.5 s, as in CREMA-D."""
    folder.mkdir()
    dice = np.random.default_rng(0)
    lengths = np.clip(dice.normal(2.5, 0.5, count), 1.3, 5.0)
    for number, length in enumerate(lengths):
        soundfile.write(folder / f"{number:04}.wav", dice.normal(0, 0.1, int(length * RATE)), RATE, subtype="PCM_16")
    return sorted(folder.iterdir())


def at_44_khz(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    for path in paths:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(wave.mean(axis=1), rate, 44_100)
        soundfile.write(folder / path.name, np.stack([mono, mono], axis=1), 44_100, subtype="PCM_16")
    return [folder / path.name for path in paths]


if __name__ == "__main__":
    main()
