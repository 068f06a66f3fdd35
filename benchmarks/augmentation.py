"""Clips a second of each augmentation on one core, and what this project's wrapper adds to audiomentations.

PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/augmentation.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.config import AugmentConfig
from ser.data.augmentation import Augmenter

SECONDS = 2.5  # mean length of a clip of the competition


def clips_per_second(call: Callable[[int], object], at_least: float = 0.5) -> float:
    """Best of three rounds; each takes at least this many seconds."""
    call(0)
    best = 0.0
    for _ in range(3):
        start, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < at_least:
            call(done)
            done += 1
        best = max(best, done / elapsed)
    return best


def main() -> None:
    wave = (0.1 * np.random.default_rng(0).standard_normal(int(SECONDS * SAMPLE_RATE))).astype(np.float32)
    print(f"{SECONDS} s clips at 16 kHz, every transform with p = 1\n")
    print(f"{'transform':14}{'clips/s':>10}{'audiomentations alone':>24}{'ratio':>8}")
    for part in fields(AugmentConfig):
        config = AugmentConfig()
        if "folder" in vars(getattr(config, part.name)):
            continue  # sounds of the user's: a convolution and an addition
        getattr(config, part.name).p = 1.0
        augmenter = Augmenter(config)
        ours = clips_per_second(lambda seed, augmenter=augmenter: augmenter(wave, seed))
        plain = augmenter._compose
        theirs = clips_per_second(lambda _, plain=plain: plain(samples=wave, sample_rate=SAMPLE_RATE))
        print(f"{part.name:14}{ours:10,.0f}{theirs:24,.0f}{ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
