"""Noise reduction: it helps where there is noise, leaves clean sound alone, and is the same at training and prediction."""

import numpy as np
import pytest
import soundfile

from ser.audio import SAMPLE_RATE, decode
from ser.audio.noise import reduce_noise
from ser.config import DataConfig
from ser.data.store import ClipStore
from sounds import write_wav


def words(noise: float, seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Bursts of tones with pauses between them, int16, without and with white noise of this standard deviation."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    clean = 6_000 * sum(np.sin(2 * np.pi * hz * time) / k for k, hz in enumerate((180, 360, 900), 1)) * (np.sin(2 * np.pi * 1.5 * time) > 0)
    return clean.astype(np.int16), np.clip(clean + rng.normal(0, noise, len(clean)), -32768, 32767).astype(np.int16)


def decibels(clean: np.ndarray, other: np.ndarray) -> float:
    """Signal-to-noise ratio."""
    error = other.astype(float) - clean
    return 10 * np.log10((clean.astype(float) ** 2).sum() / (error**2).sum())


@pytest.mark.parametrize("noise", [100, 500, 1500])
def test_noise_gets_less_and_the_sound_stays_in_its_place(noise):
    clean, noisy = words(noise)
    quiet = reduce_noise(noisy)
    assert len(quiet) == len(noisy) and quiet.dtype == np.int16
    assert decibels(clean, quiet) > decibels(clean, noisy) + 1.5
    np.testing.assert_array_equal(quiet, reduce_noise(noisy))


def test_a_clip_without_noise_is_left_alone():
    clean, _ = words(0)
    assert decibels(clean, reduce_noise(clean)) > 40


@pytest.mark.parametrize("samples", [1, 319, 320, 1_600])
def test_the_shortest_clips_keep_their_length(samples):
    assert len(reduce_noise(np.full(samples, 100, np.int16))) == samples


def test_the_clip_store_keeps_both_kinds_apart(tmp_path):
    path = write_wav(tmp_path / "a.wav", words(500)[1].astype(np.float32) / 32768)
    plain, reduced = (ClipStore.open([path], DataConfig(cache=str(tmp_path / "cache"), noise_reduction=switch)) for switch in (False, True))
    assert plain.folder != reduced.folder
    np.testing.assert_array_equal(plain[0] * 32768, soundfile.read(path, dtype="int16")[0])
    np.testing.assert_array_equal(reduced[0] * 32768, reduce_noise(decode(path).samples))
