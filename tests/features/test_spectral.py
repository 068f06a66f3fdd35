"""Spectral features are librosa's, and a clip's own."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.features.spectral import TOP_DB, Spectrum, log_mel, mfcc
from sounds import tone

SPECTRA = [Spectrum(512, 160, 64), Spectrum(512, 256, 40), Spectrum(1024, 512, 40), Spectrum(400, 160, 80)]


NOISE = np.random.default_rng(0).normal(0, 0.2, 8000)


def reference(wave, spectrum):
    power = librosa.feature.melspectrogram(
        y=wave.astype(np.float64), sr=16_000, n_fft=spectrum.window, hop_length=spectrum.hop, n_mels=spectrum.mels
    )
    return librosa.power_to_db(power)


@pytest.mark.parametrize("spectrum", SPECTRA, ids=str)
@pytest.mark.parametrize("wave", [tone(1.3), tone(0.7, level=0.001), NOISE], ids=["tone", "faint", "noise"])
def test_log_mel_and_mfcc_are_librosas(spectrum, wave):
    np.testing.assert_allclose(log_mel(wave, spectrum).numpy().T, reference(wave, spectrum), atol=1e-4)
    ours = mfcc(wave, spectrum, 13).numpy().T
    np.testing.assert_allclose(ours, librosa.feature.mfcc(S=reference(wave, spectrum), n_mfcc=13), atol=1e-4)


@pytest.mark.filterwarnings("ignore:n_fft")
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6000), st.sampled_from([1e-5, 0.01, 1.0]), st.integers(0, 2**31))
def test_any_length_and_level_gives_librosas_mfcc(samples, level, seed):
    spectrum = SPECTRA[0]
    wave = np.random.default_rng(seed).normal(0, level, samples).clip(-1, 1)
    ours = mfcc(wave, spectrum, 40).numpy()
    assert ours.shape == (spectrum.frames(samples), 40)
    np.testing.assert_allclose(ours.T, librosa.feature.mfcc(S=reference(wave, spectrum), n_mfcc=40), atol=1e-4)


def test_silence_is_finite_and_the_quiet_is_raised_to_80_db_below_the_loudest():
    assert np.isfinite(mfcc(np.zeros(1600), SPECTRA[0], 13).numpy()).all()
    burst = np.concatenate([np.zeros(8000), tone(0.2)])
    frames = log_mel(burst, SPECTRA[0]).numpy()
    assert frames.max() - frames.min() == pytest.approx(TOP_DB, abs=1e-4)
