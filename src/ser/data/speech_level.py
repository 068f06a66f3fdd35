"""How loud the speech of clips is: what tells a film's level from that of the clips a model was trained on, to which it is
brought."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.data.store import ClipStore

FRAME = SAMPLE_RATE // 40
BELOW_LOUD_DB = 20.0
"""Frames further below the loud ones (97th percentile) are pauses, or the end of a syllable."""
MOST_CLIPS = 100
"""A median of a hundred is known to a few tenths of a decibel."""


def speech_level_db(wave: np.ndarray) -> float:
    """Mean power of the speech in a wave (T,) in [-1, 1), in dB of full scale, whatever the share of silence in it; at least -120."""
    wave = np.asarray(wave, np.float64)
    frames = wave[: len(wave) - len(wave) % FRAME].reshape(-1, FRAME) if len(wave) >= FRAME else wave[None]
    power = np.square(frames - wave.mean()).mean(axis=1)
    speech = power[power >= np.percentile(power, 97) * 10 ** (-BELOW_LOUD_DB / 10)]
    return float(10 * np.log10(max(speech.mean(), 1e-12)))


def typical_level_db(clips: ClipStore, rows: Sequence[int] | np.ndarray) -> float | None:
    """The median level of these (usable) clips, of about a hundred of them, evenly taken; None where there are none."""
    some = rows[:: max(1, len(rows) // MOST_CLIPS)]
    return float(np.median([speech_level_db(clips[row]) for row in some])) if len(some) else None
