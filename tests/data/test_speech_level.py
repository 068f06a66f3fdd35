"""How loud speech is, whatever the silence around it."""

from __future__ import annotations

import numpy as np
import pytest

from ser.data.speech_level import speech_level_db, typical_level_db
from ser.data.store import ClipStore


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(int(16_000 * seconds))).astype(np.float32)


def test_level_is_that_of_the_speech_and_not_of_the_pauses() -> None:
    speech = noise(1.0)
    quiet = noise(2.0, 0.0005)
    assert speech_level_db(speech) == pytest.approx(-20.0, abs=0.1)
    assert speech_level_db(np.concatenate([quiet, speech, quiet])) == pytest.approx(-20.0, abs=0.3)
    assert speech_level_db(0.5 * speech + 0.2) == pytest.approx(-26.0, abs=0.1)  # a constant offset can't be heard
    assert speech_level_db(np.zeros(8000)) == -120
    assert np.isfinite(speech_level_db(speech[:100]))


def test_typical_level_is_the_median_of_the_clips() -> None:
    clips = ClipStore.of_samples([(32767 * noise(0.3, level)).astype(np.int16) for level in (0.01, 0.02, 0.1)])
    assert typical_level_db(clips, np.arange(3)) == pytest.approx(20 * np.log10(0.02), abs=0.2)
    assert typical_level_db(clips, np.arange(0)) is None
