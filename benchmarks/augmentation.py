"""Each transform on one clip after the other: audiomentations alone, and through this project's wrapper, which seeds it by the clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from benchmarks.clips import RATE, lengths
from benchmarks.measuring import Case, Options, in_turn
from ser.config import AugmentConfig
from ser.data.augmentation import Augmenter


def cases(options: Options) -> Iterator[Case]:
    count = options.clips or (2 if options.quick else 60)
    draw = np.random.default_rng(0)
    waves = [(0.1 * draw.standard_normal(round(seconds * RATE))).astype(np.float32) for seconds in lengths(count)]
    for part in fields(AugmentConfig):
        config = AugmentConfig()
        if "folder" in vars(getattr(config, part.name)):
            continue  # sounds of the user's: a convolution and an addition
        getattr(config, part.name).p = 1.0
        augmenter = Augmenter(config)
        plain = augmenter._compose
        ways = {
            "audiomentations alone": lambda plain=plain: [plain(samples=wave, sample_rate=RATE) for wave in waves] and None,
            "through Augmenter": lambda own=augmenter: [own(wave, seed) for seed, wave in enumerate(waves)] and None,
        }
        yield Case(part.name, in_turn(ways, options.rounds), count, "clips")
