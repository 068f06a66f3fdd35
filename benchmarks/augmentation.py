"""Each transform on one clip after the other: audiomentations alone, and through this project's wrapper, which seeds it by the clip.

Time and pitch changes are this project's own, for speech: beside them run audiomentations' in its default method, on made-up voices.
`benchmarks/stretch_quality.py` compares what the two make of real speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np

from benchmarks.clips import RATE, lengths, voice
from benchmarks.measuring import Case, Options, in_turn, memory_as_it_comes
from ser.config import AugmentConfig
from ser.data.augmentation import Augmenter
from ser.runtime.cpu_memory import settle_cpu_memory

OF_SPEECH = ("time_stretch", "pitch_shift")


def cases(options: Options) -> Iterator[Case]:
    count = options.clips or (2 if options.quick else 60)
    draw = np.random.default_rng(0)
    noise = [(0.1 * draw.standard_normal(round(length * RATE))).astype(np.float32) for length in lengths(count)]
    # Rounds of a tenth of a second would measure how each way begins.
    voices = [voice(length, seed) for seed, length in enumerate(lengths(options.clips or (2 if options.quick else 300)))]
    for part in fields(AugmentConfig):
        config = AugmentConfig()
        if "folder" in vars(getattr(config, part.name)):
            continue  # sounds of the user's: a convolution and an addition
        getattr(config, part.name).p = 1.0
        augmenter, waves = Augmenter(config), voices if part.name in OF_SPEECH else noise
        plain = _spectral(config) if part.name in OF_SPEECH else augmenter._compose

        def alone(plain: Callable = plain, waves: list = waves) -> None:
            memory_as_it_comes()
            for wave in waves:
                plain(samples=wave, sample_rate=RATE)

        def own(augmenter: Augmenter = augmenter, waves: list = waves) -> None:
            settle_cpu_memory()  # as training does
            for seed, wave in enumerate(waves):
                augmenter(wave, seed)

        ways = {"audiomentations alone": alone, "through Augmenter": own}
        yield Case(part.name, in_turn(ways, options.rounds), len(waves), "clips")


def _spectral(config: AugmentConfig) -> Callable:
    """audiomentations' time stretch and pitch shift (Signalsmith Stretch), whichever are on, with the config's ranges."""
    import audiomentations as am

    time, pitch = config.time_stretch, config.pitch_shift
    transforms = [
        am.TimeStretch(time.min_rate, time.max_rate, leave_length_unchanged=False, p=time.p),
        am.PitchShift(pitch.min_semitones, pitch.max_semitones, p=pitch.p),
    ]
    return am.Compose([transform for transform in transforms if transform.p > 0])
