"""A wave through a codec and back: in time, of its length, and with the losses that the codec is known for."""

from __future__ import annotations

import numpy as np
import pytest

from ser.audio.codecs import CODECS, through_codec


def speechlike(seconds: float = 1.0) -> np.ndarray:
    """Harmonics of 120 Hz up to 7 kHz under a syllable's envelope, and noise."""
    random = np.random.default_rng(0)
    t = np.arange(int(seconds * 16_000)) / 16_000
    voice = sum(np.sin(2 * np.pi * 120 * k * t + k) / k for k in range(1, 58))
    wave = 0.1 * voice * (1 + np.sin(2 * np.pi * 4 * t)) + 0.003 * random.standard_normal(len(t))
    return wave.astype(np.float32)


def delay(wave: np.ndarray, other: np.ndarray) -> int:
    """By how many samples the other one is later."""
    size = 2 * len(wave)
    match = np.fft.irfft(np.fft.rfft(wave, size).conj() * np.fft.rfft(other, size))
    return (int(np.argmax(match)) + len(wave)) % size - len(wave)


def share_above(wave: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float(power[int(hz * len(wave) / 16_000) :].sum() / power.sum())


@pytest.mark.parametrize("name", CODECS)
def test_clip_comes_back_in_time_changed_and_recognisable(name: str) -> None:
    wave = speechlike()
    heard = through_codec(wave, name, 64)
    assert heard.dtype == np.float32
    assert len(heard) == len(wave)
    assert delay(wave, heard) == 0
    loss = np.mean((heard - wave) ** 2) / np.mean(wave**2)
    assert 1e-6 < loss < 0.2
    np.testing.assert_array_equal(through_codec(wave, name, 64), heard)


@pytest.mark.parametrize("name", ["aac", "mp3", "opus"])
def test_more_bits_lose_less(name: str) -> None:
    wave = speechlike()
    low, high = (np.mean((through_codec(wave, name, kbps) - wave) ** 2) for kbps in (24, 128))
    assert high < low / 2


def test_telephone_ends_at_4_khz() -> None:
    wave = speechlike()
    assert share_above(wave, 4000) > 1e-3
    assert share_above(through_codec(wave, "telephone", 64), 4200) < 1e-5


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("samples", [1, 400, 1000])
def test_shortest_clips_survive(name: str, samples: int) -> None:
    """An encoder's delay is longer than they are: nothing, or silence, would come back."""
    wave = speechlike()[4000 : 4000 + samples]
    heard = through_codec(wave, name, 64)
    assert len(heard) == samples
    assert np.abs(heard).max() > 0.3 * np.abs(wave).max()


@pytest.mark.parametrize("name", CODECS)
def test_silence_stays_silent_and_too_loud_is_clipped(name: str) -> None:
    assert np.abs(through_codec(np.zeros(4000, np.float32), name, 32)).max() < 1e-3
    loud = through_codec(1e4 * speechlike(0.3), name, 320)
    assert np.isfinite(loud).all()
    assert np.abs(loud).max() < 2
