"""Augmentations that audiomentations lacks or does otherwise, in its form: codecs, changes of time and pitch made for speech, and sounds of
the user's without a change of loudness.

Its own time stretch and pitch shift are spectral and take three to five times as long; what each keeps of speech is in docs/last_points.md.
Its own impulse responses bring every clip to one peak, which takes away how loud somebody speaks, and are not taken in time; its own
backgrounds read the file again for every clip.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import audiomentations
import numpy as np
from audiomentations.core.transforms_interface import BaseWaveformTransform

from ser.audio.codecs import through_codec
from ser.data.store import ClipStore
from ser.data.time_scale import pitch_shift, time_stretch


class TimeStretch(audiomentations.TimeStretch):
    """Faster or slower, the length with it; the rate is drawn as audiomentations draws it."""

    supports_multichannel = False

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """float32 (T,) -> (round(T / rate),)."""
        return time_stretch(samples, self.parameters["rate"])


class PitchShift(audiomentations.PitchShift):
    """Higher or lower at the same length; the semitones are drawn as audiomentations draws them."""

    supports_multichannel = False

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """float32 (T,) -> (T,)."""
        return pitch_shift(samples, self.parameters["num_semitones"])


class ThroughCodec(BaseWaveformTransform):
    """A codec there and back; each doubling of the bit rate is equally likely."""

    def __init__(self, kinds: Sequence[str], min_kbps: int, max_kbps: int, p: float) -> None:
        super().__init__(p)
        self.kinds, self.min_kbps, self.max_kbps = list(kinds), min_kbps, max_kbps

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """float32 (T,) -> (T,)."""
        kbps = math.exp(random.uniform(math.log(self.min_kbps), math.log(self.max_kbps)))  # noqa: S311
        return through_codec(samples, random.choice(self.kinds), round(kbps))  # noqa: S311


class ImpulseResponse(BaseWaveformTransform):
    """Convolution with one of the sounds, in time with its strongest sample, at the loudness that the clip had."""

    def __init__(self, sounds: ClipStore, p: float) -> None:
        super().__init__(p)
        self.sounds = sounds

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """float32 (T,) -> (T,)."""
        from scipy.signal import fftconvolve

        response = self.sounds[random.randrange(len(self.sounds))]  # noqa: S311
        start = int(np.argmax(np.abs(response)))
        heard = fftconvolve(samples, response)[start : start + len(samples)]
        return (heard * (_rms(samples) / max(_rms(heard), 1e-9))).astype(np.float32)


class Background(BaseWaveformTransform):
    """A stretch of one of the sounds, at a random ratio to the clip."""

    def __init__(self, sounds: ClipStore, min_snr_db: float, max_snr_db: float, p: float) -> None:
        super().__init__(p)
        self.sounds, self.min_snr_db, self.max_snr_db = sounds, min_snr_db, max_snr_db

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """float32 (T,) -> (T,)."""
        ratio = 10 ** (-random.uniform(self.min_snr_db, self.max_snr_db) / 20)  # noqa: S311
        sound = self.sounds[random.randrange(len(self.sounds))]  # noqa: S311
        begin = random.randint(0, max(0, len(sound) - len(samples)))  # noqa: S311
        behind = np.resize(sound[begin : begin + len(samples)], len(samples))
        level = _rms(behind)
        return samples if level == 0 else samples + np.float32(_rms(samples) * ratio / level) * behind


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
