"""Copies of a recording are found whatever was done to them; other recordings aren't."""

from pathlib import Path

import numpy as np
import pytest

from ser.audio import decode, to_float
from ser.features.near_duplicates import near_duplicates, overlap
from sounds import write_soundfile

RATE = 16_000


def speechlike(seed: int, seconds: float = 1.5) -> np.ndarray:
    """Syllables of moving pitch and formants: all clips alike in kind, none alike in course."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 150 + 30 * np.sin(2 * np.pi * (1.5 + rng.random()) * time + 6 * rng.random()) + 10 * rng.random()
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = sum(rng.random() / part * np.sin(part * phase + 6 * rng.random()) for part in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * (2.5 + rng.random()) * time + 6 * rng.random()), 0, None)
    return (0.1 * wave * syllables + 0.001 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, np.ndarray]:
    folder: Path = tmp_path_factory.mktemp("copies")
    found = {f"other {number}": speechlike(number) for number in range(12)}
    found["louder"] = 1.8 * found["other 0"]
    found["cut"] = found["other 1"][4_000:]
    found["padded"] = np.pad(found["other 2"], (6_400, 1_600))
    found["noisy"] = found["other 3"] + 0.02 * np.random.default_rng(9).standard_normal(len(found["other 3"])).astype(np.float32)
    found["mp3"] = to_float(decode(write_soundfile(folder / "copy.mp3", found["other 4"], RATE, "MP3")).samples)
    return found


def test_every_copy_is_found_with_its_original_and_nothing_else(clips):
    names, waves = list(clips), list(clips.values())
    found = near_duplicates(waves.__getitem__, range(len(waves)))
    pairs = {(names[pair.first], names[pair.second]): pair for pair in found.itertuples()}
    assert set(pairs) == {("other 0", "louder"), ("other 1", "cut"), ("other 2", "padded"), ("other 3", "noisy"), ("other 4", "mp3")}
    assert pairs["other 0", "louder"].correlation == pytest.approx(1, abs=1e-3)
    assert pairs["other 1", "cut"].shift == pytest.approx(0.25, abs=0.001)  # the copy's start lies a quarter of a second into the first
    assert pairs["other 2", "padded"].shift == pytest.approx(-0.4, abs=0.001)
    assert found["correlation"].is_monotonic_decreasing


def test_rows_are_those_of_the_caller(clips):
    waves = [clips["other 0"], None, clips["louder"], clips["other 5"]]
    found = near_duplicates(waves.__getitem__, [0, 2, 3])
    assert found[["first", "second"]].to_numpy().tolist() == [[0, 2]]


def test_overlap_is_the_highest_correlation_over_all_shifts_reckoned_one_by_one():
    rng = np.random.default_rng(3)
    first = rng.standard_normal(60).astype(np.float32)
    second = np.concatenate([first[20:50], rng.standard_normal(10)]).astype(np.float32)
    best = max(
        (float(a @ b / np.sqrt(max((a @ a) * (b @ b), 0.25 * (first @ first) * (second @ second)))), shift)
        for shift in range(20 - 40, 60 - 20 + 1)
        for a, b in [(first[max(shift, 0) : shift + 40], second[max(-shift, 0) : 60 - shift])]
    )
    assert overlap(first, second) == (pytest.approx(best[0], abs=1e-5), best[1])
    assert best[1] == 20


def test_silence_and_single_clips_are_no_duplicates():
    silent = [np.zeros(8_000, np.float32), np.zeros(9_000, np.float32), speechlike(1)]
    assert near_duplicates(silent.__getitem__, [0, 1, 2]).empty
    assert near_duplicates(silent.__getitem__, [2]).empty
