"""Augmentation: a function of the clip and the seed, and nothing when it is off."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import pickle
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.config import AugmentConfig, build_parser, parse
from ser.data.augmentation import MIN_SAMPLES, Augmenter
from ser.runtime.errors import UserError
from ser.runtime.seeds import seed_of

OF_USERS = ("impulse", "background")  # they need sounds: tests/data/test_transforms.py
NAMES = [part.name for part in dataclasses.fields(AugmentConfig) if part.name not in OF_USERS]


def config(p: float = 1.0, *names: str) -> AugmentConfig:
    made = AugmentConfig()
    for name in names or NAMES:
        getattr(made, name).p = p
    return made


def voice(seconds: float = 0.7, level: float = 0.3) -> np.ndarray:
    t = np.arange(int(seconds * 16_000)) / 16_000
    return (level * np.sin(2 * np.pi * 150 * t) * (1.2 + np.sin(2 * np.pi * 4 * t)) / 2.2).astype(np.float32)


def digest(wave: np.ndarray) -> str:
    return hashlib.sha256(wave.tobytes()).hexdigest()


def digest_with_every_transform(seed: int) -> str:
    return digest(Augmenter(config(0.6))(voice(), seed))


def test_off_is_really_off() -> None:
    wave, augmenter = voice(), Augmenter(AugmentConfig())
    assert not augmenter.active
    assert augmenter(wave, 1) is wave


@pytest.mark.parametrize("name", NAMES)
def test_each_transform_alone_changes_the_clip_and_repeats_by_seed(name: str) -> None:
    wave, augmenter = voice(), Augmenter(config(1.0, name))
    before = wave.copy()
    first, again, other = augmenter(wave, 1), augmenter(wave, 1), augmenter(wave, 2)
    assert augmenter.active
    assert not np.array_equal(first, wave)
    np.testing.assert_array_equal(first, again)
    assert digest(first) != digest(other)
    np.testing.assert_array_equal(wave, before)  # the shared clip store must not be written to


def test_clip_is_not_augmented_the_same_in_every_worker_or_every_epoch() -> None:
    """Fault 12: global generators copied into workers, or seeded once, repeat one augmentation."""
    wave = voice()
    seeds = [seed_of(0, "augment", epoch, clip) for epoch in range(3) for clip in ("a", "b")]
    # Two workers start with equal global generators, as forked ones do, and share out the clips between them.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as workers:
        forked = list(workers.map(digest_with_every_transform, seeds))
    assert len(set(forked)) == len(seeds)
    # Nor does it matter who did it, or in which order.
    assert forked == [digest(Augmenter(config(0.6))(wave, seed)) for seed in seeds]
    assert forked[::-1] == [digest_with_every_transform(seed) for seed in reversed(seeds)]


def test_fresh_process_augments_to_the_same_bytes() -> None:
    code = (
        "import random, numpy as np; random.seed(99); np.random.seed(99)\n"
        "from test_augmentation import digest_with_every_transform as d; print(d(5), d(6))"
    )
    out = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True)
    assert out.stdout.split() == [digest_with_every_transform(5), digest_with_every_transform(6)]


def test_threads_do_not_disturb_each_other() -> None:
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(digest_with_every_transform, range(8))) == [digest_with_every_transform(seed) for seed in range(8)]


def test_global_generators_are_left_as_they_were() -> None:
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = random.random(), np.random.rand()  # noqa: NPY002, S311
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    Augmenter(config())(voice(), 1)
    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002, S311


def test_used_augmenter_can_be_pickled_for_spawned_workers() -> None:
    augmenter = Augmenter(config())
    expected = augmenter(voice(), 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(augmenter))(voice(), 4), expected)  # noqa: S301 - own bytes


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(1, 12_000),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["voice", "silence", "nan", "inf", "loud", "constant"]),
    p=st.sampled_from([0.5, 1.0]),
)
def test_any_clip_comes_back_finite_and_of_bounded_length(samples: int, seed: int, kind: str, p: float) -> None:
    wave = np.resize(voice(), samples)
    wave = {"silence": wave * 0, "loud": wave * 1e4, "constant": wave * 0 + 0.5}.get(kind, wave).astype(np.float32)
    if kind in ("nan", "inf"):
        wave[::3] = np.float32(kind)
    made = config(p)
    made.time_stretch.min_rate, made.time_stretch.max_rate = 0.67, 1.5
    out = Augmenter(made)(wave, seed)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert MIN_SAMPLES <= len(out) <= max(MIN_SAMPLES, 1.5 * samples)


def test_snr_noise_is_as_loud_as_asked() -> None:
    made = config(1.0, "snr_noise")
    made.snr_noise.min_snr_db = made.snr_noise.max_snr_db = 10.0
    wave = voice(2.0)
    noise = Augmenter(made)(wave, 1) - wave
    measured = 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) / np.mean(np.square(noise, dtype=np.float64)))
    assert measured == pytest.approx(10.0, abs=0.2)


def test_gain_stays_in_its_range() -> None:
    wave, augmenter = voice(), Augmenter(config(1.0, "gain"))
    gains = [20 * np.log10(np.abs(augmenter(wave, seed)).max() / np.abs(wave).max()) for seed in range(50)]
    assert min(gains) >= -6.001
    assert max(gains) <= 6.001
    assert max(gains) - min(gains) > 6


def test_pitch_and_rate_move_as_named() -> None:
    t = np.arange(32_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)

    def loudest_hz(wave: np.ndarray) -> float:
        return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))))) * 16_000 / len(wave)

    up = config(1.0, "pitch_shift")
    up.pitch_shift.min_semitones = up.pitch_shift.max_semitones = 12.0
    higher = Augmenter(up)(tone, 1)
    assert len(higher) == len(tone)
    assert loudest_hz(higher) == pytest.approx(880, rel=0.02)

    fast = config(1.0, "time_stretch")
    fast.time_stretch.min_rate = fast.time_stretch.max_rate = 1.25
    shorter = Augmenter(fast)(tone, 1)
    assert len(shorter) == pytest.approx(32_000 / 1.25, abs=2)
    assert loudest_hz(shorter) == pytest.approx(440, rel=0.02)


def test_probability_is_the_share_of_clips_changed() -> None:
    wave, augmenter = voice(), Augmenter(config(0.3, "gain"))
    changed = sum(not np.array_equal(augmenter(wave, seed), wave) for seed in range(1000))
    assert 250 < changed < 350


def test_room_without_its_package_names_it_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyroomacoustics" else real(name))
    with pytest.raises(UserError, match="pip install pyroomacoustics"):
        Augmenter(config(1.0, "room"))
    Augmenter(config(1.0, "gain"))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--augment.gain.p", "1.5"],
        ["--augment.time_stretch.min_rate", "0.3"],
        ["--augment.pitch_shift.max_semitones", "40"],
        ["--augment.filter.max_center_hz", "9000"],
        ["--augment.noise.min_amplitude", "0.5"],
        ["--augment.codec.kinds", "[vinyl]"],
        ["--augment.codec.kinds", "[]"],
        ["--augment.codec.min_kbps", "8"],
    ],
)
def test_impossible_value_is_refused_with_its_key(wrong: list[str]) -> None:
    with pytest.raises(UserError, match=wrong[0].lstrip("-")):
        parse(build_parser("train", ""), wrong)
