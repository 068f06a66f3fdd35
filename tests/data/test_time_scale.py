"""Longer and higher speech: lengths, pitch as librosa's pYIN hears it, onsets in time, no clicks, at the ends of every range."""

from __future__ import annotations

import random

import audiomentations
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from ser.config import AugmentConfig
from ser.data.augmentation import Augmenter
from ser.data.time_scale import pitch_shift, time_stretch
from ser.data.transforms import PitchShift, TimeStretch

RATE = 16_000
RATES = [0.67, 0.8, 0.9, 1.1, 1.25, 1.5]


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def vowel(low: float = 110, high: float = 190, seconds: float = 2.0) -> np.ndarray:
    """Pulses whose pitch glides, through two formants."""
    pitch = np.linspace(low, high, round(seconds * RATE))
    wave = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
    for formant, width in ((700, 90), (1300, 120)):
        radius = np.exp(-np.pi * width / RATE)
        wave = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], wave)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def hiss(seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


def heard_hz(wave: np.ndarray) -> np.ndarray:
    """Fundamental every 10 ms, NaN where pYIN hears none."""
    return librosa.pyin(wave, fmin=65, fmax=600, sr=RATE, frame_length=1024, hop_length=160)[0]


def cents(heard: np.ndarray, due: np.ndarray) -> np.ndarray:
    both = ~np.isnan(heard) & ~np.isnan(due)
    assert both.mean() > 0.9
    return 1200 * np.log2(heard[both] / due[both])


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


@pytest.mark.parametrize("rate", RATES)
def test_stretched_vowel_keeps_its_pitch_at_the_time_it_moved_to(rate: float) -> None:
    wave = vowel()
    result = time_stretch(wave, rate)
    heard, original = heard_hz(result), heard_hz(wave)
    due = original[np.minimum(np.rint(np.arange(len(heard)) * rate).astype(int), len(original) - 1)]
    assert np.median(np.abs(cents(heard, due))) < 10
    assert rms(result) == pytest.approx(rms(wave), rel=0.03)


@pytest.mark.parametrize("semitones", [-12, -4, -2, -0.5, 1, 2, 4, 12])
def test_shifted_vowel_has_the_pitch_asked_for_at_the_same_time(semitones: float) -> None:
    wave = vowel(150, 240)
    result = pitch_shift(wave, semitones)
    assert len(result) == len(wave)
    assert np.median(np.abs(cents(heard_hz(result), heard_hz(wave) * 2 ** (semitones / 12)))) < 15


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("wave", [tone(220), vowel(), tone(130) + tone(197)], ids=["tone", "vowel", "two tones"])
def test_no_fade_clicks(wave: np.ndarray, rate: float) -> None:
    """A click is a jump between neighbours, a corner or a spike that the original has nowhere."""
    result = time_stretch(wave, rate)
    for order in (0, 1, 2):
        assert np.abs(np.diff(result, order)).max() <= 1.2 * np.abs(np.diff(wave, order)).max() + 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_onsets_come_when_they_are_due_and_none_is_lost_or_said_twice(rate: float) -> None:
    wave, begins = hiss(3.0, 0.0005), (np.array([0.3, 0.8, 1.4, 2.0, 2.7]) * RATE).astype(int)
    for begin in begins:
        wave[begin : begin + 1600] += vowel(140, 160, 0.1)
    result = time_stretch(wave, rate)
    loud = np.convolve(np.abs(result), np.ones(80) / 80, "same") > 0.02
    ends = np.convolve(loud, np.ones(640), "same") > 0  # periods of one burst are one
    found = np.flatnonzero(np.diff(ends.astype(int)) == 1) + 320
    assert len(found) == len(begins)
    assert np.abs(found - begins / rate).max() < 0.010 * RATE


@pytest.mark.parametrize("rate", [0.9, 1.1])
def test_a_hiss_does_not_begin_to_hum(rate: float) -> None:
    """What is repeated where it resembles itself most gets a pitch."""
    share = [np.mean(~np.isnan(heard_hz(wave))) for wave in (hiss(2.0), time_stretch(hiss(2.0), rate))]
    assert share[1] <= share[0] + 0.05
    assert rms(time_stretch(hiss(2.0), rate)) == pytest.approx(rms(hiss(2.0)), rel=0.05)


def test_between_fades_every_sample_is_as_it_was() -> None:
    wave = vowel()
    result = time_stretch(wave, 1.1)
    known = {wave[at : at + 8].tobytes() for at in range(len(wave) - 7)}
    assert np.mean([result[at : at + 8].tobytes() in known for at in range(len(result) - 7)]) > 0.5


def test_nothing_asked_is_nothing_done() -> None:
    wave = vowel(seconds=0.5)
    for same in (time_stretch(wave, 1.0), time_stretch(wave, 1.00001), pitch_shift(wave, 0.0)):
        np.testing.assert_allclose(same, wave, atol=1e-6)
        assert not np.shares_memory(same, wave)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.one_of(st.integers(1, 1500), st.integers(1500, 20_000)),
    rate=st.floats(0.67, 1.5),
    semitones=st.floats(-12, 12),
    kind=st.sampled_from(["vowel", "silence", "constant", "loud", "huge", "hiss", "click"]),
)
def test_any_clip_comes_back_finite_and_as_long_as_it_should_be(samples: int, rate: float, semitones: float, kind: str) -> None:
    wave = np.resize(vowel(seconds=0.5), samples)
    click = np.eye(1, samples, samples // 2, dtype=np.float32)[0]
    other = {"silence": 0 * wave, "constant": 0 * wave + 0.5, "loud": 1e4 * wave, "huge": 1e15 * wave, "click": click}
    wave = other.get(kind, np.resize(hiss(0.5), samples) if kind == "hiss" else wave).astype(np.float32)
    before = wave.copy()
    stretched, shifted = time_stretch(wave, rate), pitch_shift(wave, semitones)
    assert len(stretched) == round(samples / rate)
    assert len(shifted) == samples
    for result in (stretched, shifted):
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        assert np.abs(result).max() <= 2.5 * np.abs(wave).max()
    np.testing.assert_array_equal(wave, before)
    np.testing.assert_array_equal(time_stretch(wave, rate), stretched)


def test_a_single_sample_is_a_clip_too() -> None:
    for result, length in ((time_stretch(np.ones(1, np.float32), 2.0), 0), (pitch_shift(np.ones(1, np.float32), -12), 1)):
        assert result.dtype == np.float32
        assert len(result) == length


def test_a_clip_ends_as_it_ended() -> None:
    """Nothing is cut off and no silence follows, however it is stretched."""
    wave = np.concatenate([hiss(1.0, 0.0005), vowel(seconds=1.0)])
    for rate in RATES:
        result = time_stretch(wave, rate)
        np.testing.assert_array_equal(result[-50:], wave[-50:])
        np.testing.assert_allclose(result[:20], wave[:20], atol=1e-4)  # a fade may begin with the clip


def test_the_same_rates_and_semitones_are_drawn_as_by_audiomentations() -> None:
    """And so every transform after them draws what it drew."""
    wave = vowel(seconds=0.3)
    pairs = [
        (TimeStretch(0.9, 1.1, p=0.5), audiomentations.TimeStretch(0.9, 1.1, leave_length_unchanged=False, p=0.5)),
        (PitchShift(-2, 2, p=0.5), audiomentations.PitchShift(-2, 2, p=0.5)),
    ]
    for own, theirs in pairs:
        for seed in range(20):
            drawn = []
            for transform in (own, theirs):
                random.seed(seed)
                length = len(transform(samples=wave, sample_rate=RATE))
                drawn.append((dict(transform.parameters), length, random.random()))  # noqa: S311
            if drawn[0][0]["should_apply"]:
                assert drawn[0] == drawn[1]
            else:
                assert drawn[0][1:] == drawn[1][1:]


def test_the_augmenter_uses_them() -> None:
    config = AugmentConfig()
    config.time_stretch.p, config.time_stretch.min_rate, config.time_stretch.max_rate = 1.0, 1.25, 1.25
    np.testing.assert_array_equal(Augmenter(config)(vowel(), 3), time_stretch(vowel(), 1.25))
