"""The project's own augmentations: sounds of the user's behind clips and over them, and codecs."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.audio.codecs import through_codec
from ser.config import AugmentConfig
from ser.data.augmentation import Augmenter
from ser.runtime.errors import UserError

RATE = 16_000


def voice(seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * 150 * t) * (1.2 + np.sin(2 * np.pi * 4 * t)) / 2.2).astype(np.float32)


def tone(hz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


def rms_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64))))


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A hum of 50 s at another rate, in a folder below, and a click shorter than the clips; and a note that is no sound."""
    folder = tmp_path / "sounds"
    (folder / "below").mkdir(parents=True)
    soundfile.write(folder / "below" / "hum.flac", tone(1000, 50, 22_050), 22_050)
    soundfile.write(folder / "short.wav", tone(3000, 0.2), RATE)
    (folder / "licence.txt").write_text("CC0")
    return folder


def with_background(folder: Path, cache: Path, snr_db: float) -> Augmenter:
    config = AugmentConfig()
    config.background.p, config.background.folder = 1.0, str(folder)
    config.background.min_snr_db = config.background.max_snr_db = snr_db
    return Augmenter(config, str(cache))


def with_impulse(wave: np.ndarray, tmp_path: Path) -> Augmenter:
    (tmp_path / "responses").mkdir()
    soundfile.write(tmp_path / "responses" / "room.wav", wave, RATE)
    config = AugmentConfig()
    config.impulse.p, config.impulse.folder = 1.0, str(tmp_path / "responses")
    return Augmenter(config, str(tmp_path / "cache"))


def test_background_is_one_of_the_sounds_at_the_ratio_asked_for(sounds: Path, tmp_path: Path) -> None:
    wave, augmenter = voice(), with_background(sounds, tmp_path / "cache", snr_db=12.0)
    heard = set()
    for seed in range(12):
        behind = augmenter(wave, seed) - wave
        assert rms_db(wave) - rms_db(behind) == pytest.approx(12.0, abs=0.05)
        heard.add(round(np.argmax(np.abs(np.fft.rfft(behind))) * RATE / len(behind), -2))
    assert heard == {1000, 3000}


def test_background_depends_on_the_seed_alone_and_survives_pickling(sounds: Path, tmp_path: Path) -> None:
    wave, augmenter = voice(), with_background(sounds, tmp_path / "cache", snr_db=12.0)
    copy = pickle.loads(pickle.dumps(augmenter))  # noqa: S301 - own bytes
    made = [augmenter(wave, seed) for seed in range(8)]
    assert len({clip.tobytes() for clip in made}) > 2  # another stretch of the long sound each time
    for seed in reversed(range(8)):
        np.testing.assert_array_equal(copy(wave, seed), made[seed])


def test_impulse_response_echoes_in_time_and_as_loud_as_before(tmp_path: Path) -> None:
    response = np.zeros(4000)
    response[300], response[300 + 1600] = 0.5, 0.25  # the direct sound after 19 ms, an echo of half its size 0.1 s later
    wave = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.05
    heard = with_impulse(response, tmp_path)(wave, 1)
    assert rms_db(heard) == pytest.approx(rms_db(wave), abs=0.01)
    expected = wave.copy()
    expected[1600:] += 0.5 * wave[:-1600]
    expected *= np.sqrt(np.mean(wave**2) / np.mean(expected**2))
    np.testing.assert_allclose(heard, expected, atol=2e-5)


def test_codecs_and_bit_rates_are_all_drawn() -> None:
    config = AugmentConfig()
    config.codec.p, config.codec.kinds = 1.0, ["telephone", "opus"]
    config.codec.min_kbps = config.codec.max_kbps = 32
    wave, augmenter = voice(0.5), Augmenter(config)
    drawn = {augmenter(wave, seed).tobytes() for seed in range(10)}
    assert drawn == {through_codec(wave, name, 32).tobytes() for name in ("telephone", "opus")}
    config.codec.max_kbps = 128
    augmenter = Augmenter(config)
    assert len({augmenter(wave, seed).tobytes() for seed in range(10)}) > 4


def test_sounds_that_lack_or_are_broken_are_told_before_training(sounds: Path, tmp_path: Path) -> None:
    config = AugmentConfig()
    config.background.p = 0.5
    with pytest.raises(UserError, match=r"--augment\.background\.folder"):
        Augmenter(config, str(tmp_path))
    config.background.folder = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no folder"):
        Augmenter(config, str(tmp_path))
    (sounds / "broken.wav").write_bytes(b"no sound")
    config.background.folder = str(sounds)
    with pytest.raises(UserError, match=r"1 of 3 sounds can't be used[^$]*broken\.wav  undecodable"):
        Augmenter(config, str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    config.background.folder = str(tmp_path / "empty")
    with pytest.raises(UserError, match="holds no audio files"):
        Augmenter(config, str(tmp_path))
