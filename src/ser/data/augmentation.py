"""Augmentation of training clips by audiomentations (https://github.com/iver56/audiomentations) and a few transforms of our
own: which of them, in which order.

A clip's augmentation is a function of the clip and a seed, nothing else: the seed comes from
`seed_of(seed, "augment", epoch, clip_id)`, so workers, batch size and interruptions can't change it.
"""

from __future__ import annotations

import importlib.util
import random
import threading
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.config import AugmentConfig, DataConfig
from ser.data.sounds import open_sounds
from ser.data.store import ClipStore
from ser.runtime.errors import UserError

MIN_SAMPLES = 400  # what the convolutional stack of Wav2Vec2 needs to give one frame

# audiomentations draws from Python's and NumPy's global generators: only one thread may borrow them at a time.
_GLOBAL_GENERATORS = threading.Lock()


class Augmenter:
    """Applies the transforms of the config whose probability is above zero.

    cache: where the sounds of augment.impulse and augment.background are kept decoded.
    Raises UserError when the room simulation is on and its package is missing, and when sounds are wanted and lacking.
    """

    def __init__(self, config: AugmentConfig, cache: str = DataConfig.cache) -> None:
        self.config, self.cache = config, cache
        self.active = bool(config.active)
        if config.room.p > 0 and importlib.util.find_spec("pyroomacoustics") is None:
            raise UserError(
                f"augment.room.p is {config.room.p}, but the package pyroomacoustics is not installed. "
                "Run `pip install pyroomacoustics==0.10.1`, or set augment.room.p to 0."
            )
        of_user = {name: getattr(config, name) for name in ("impulse", "background")}
        self._sounds = {name: open_sounds(own.folder, cache, f"augment.{name}") for name, own in of_user.items() if own.p > 0}

    def __call__(self, wave: np.ndarray, seed: int) -> np.ndarray:
        """Augment one clip.

        wave: float32 (T,), 16 kHz. seed: 32 bits. Returns finite float32 (T',) with 400 <= T' <= 1.5 T
        (400 even where T is smaller); the very same array when every transform is off.
        """
        if not self.active:
            return wave
        # One NaN would spread over the whole clip in a filter.
        clean = _finite(np.asarray(wave, dtype=np.float32))
        with _GLOBAL_GENERATORS:
            result = _with_global_seed(seed, lambda: self._compose(samples=clean, sample_rate=SAMPLE_RATE))
        result = _finite(result.astype(np.float32, copy=False))
        return result if len(result) >= MIN_SAMPLES else np.pad(result, (0, MIN_SAMPLES - len(result)))

    @property
    def sound_hashes(self) -> list[str]:
        """Of the user's sounds that it lays over clips, by their bytes."""
        return [file_hash for sounds in self._sounds.values() for file_hash in sounds.report["file_hash"]]

    def __reduce__(self) -> tuple:
        # Transforms keep the state of their last call, which other processes neither need nor can always unpickle.
        return Augmenter, (self.config, self.cache)

    @cached_property
    def _compose(self) -> Callable:
        import audiomentations

        return audiomentations.Compose(_transforms(self.config, self._sounds))


def _transforms(config: AugmentConfig, sounds: Mapping[str, ClipStore]) -> list:
    """The active transforms in the order in which sound is made: the voice, the room with its noise, the microphone, the codec."""
    import audiomentations as am

    from ser.data.transforms import Background, ImpulseResponse, PitchShift, ThroughCodec, TimeStretch

    c = config
    transforms = [
        TimeStretch(c.time_stretch.min_rate, c.time_stretch.max_rate, p=c.time_stretch.p),
        PitchShift(c.pitch_shift.min_semitones, c.pitch_shift.max_semitones, p=c.pitch_shift.p),
        am.Shift(-c.shift.max_share, c.shift.max_share, rollover=False, p=c.shift.p),
        # Without ray tracing: that is seven times slower and draws from a generator nobody can seed.
        am.RoomSimulator(use_ray_tracing=False, max_order=c.room.max_reflections, leave_length_unchanged=True, p=c.room.p),
        ImpulseResponse(sounds.get("impulse"), c.impulse.p),
        Background(sounds.get("background"), c.background.min_snr_db, c.background.max_snr_db, c.background.p),
        am.AddGaussianNoise(c.noise.min_amplitude, c.noise.max_amplitude, p=c.noise.p),
        am.AddGaussianSNR(c.snr_noise.min_snr_db, c.snr_noise.max_snr_db, p=c.snr_noise.p),
        am.BandPassFilter(
            c.filter.min_center_hz, c.filter.max_center_hz, min_bandwidth_fraction=1.0, max_bandwidth_fraction=1.9, p=c.filter.p
        ),
        am.ClippingDistortion(max_percentile_threshold=c.clipping.max_percentile, p=c.clipping.p),
        am.Gain(c.gain.min_db, c.gain.max_db, p=c.gain.p),
        ThroughCodec(c.codec.kinds, c.codec.min_kbps, c.codec.max_kbps, c.codec.p),
    ]
    return [transform for transform in transforms if transform.p > 0]


_OWN_GENERATOR = np.random.MT19937()


def _finite(wave: np.ndarray) -> np.ndarray:
    return wave if np.isfinite(wave).all() else np.nan_to_num(wave, nan=0.0, posinf=1.0, neginf=-1.0)


def _with_global_seed(seed: int, call: Callable[[], np.ndarray]) -> np.ndarray:
    """Run `call` with both global generators seeded, and put them back as they were (but for a normal number that NumPy drew ahead)."""
    python_state, numpy_generator = random.getstate(), np.random.get_bit_generator()
    try:
        random.seed(seed)
        np.random.set_bit_generator(_OWN_GENERATOR)  # the other's state is long to copy
        np.random.seed(seed)  # noqa: NPY002 - audiomentations uses this one
        return call()
    finally:
        random.setstate(python_state)
        np.random.set_bit_generator(numpy_generator)
