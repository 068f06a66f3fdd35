"""Random containers, codecs and damage: what is read is what ffmpeg decodes, or there is a status that says why not.

SER_EXAMPLES=500 python -m pytest -m slow tests/audio/test_drawn_audio.py
SER_SEED=1234 SER_EXAMPLES=1 python -m pytest -m slow tests/audio/test_drawn_audio.py  # one seed again
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from broken import examples
from drawn_audio import Drawn, draw
from ser.audio import SAMPLE_RATE, UNUSABLE, Clip
from ser.audio.pool import Worker

FRAME = 0.1  # seconds; the longest frames are AAC's and MP3's at low rates, and decoders differ in what they put in front
JOINT = 0.2  # what encoders put in front and behind is cut off by ffmpeg in each alone, not between two
MOST = round((FRAME + JOINT) * SAMPLE_RATE)
COMPARED = SAMPLE_RATE // 4  # samples
TOLD = UNUSABLE | {"incomplete"}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg isn't installed")
def test_what_is_read_is_what_ffmpeg_decodes_or_has_a_status(tmp_path):
    first = int(os.environ.get("SER_SEED", 0))
    worker, wrong, statuses = Worker(), [], {}
    for seed in range(first, first + examples(500)):
        drawn = draw(seed, tmp_path)
        clip = worker.decode(drawn.path, 0.05, 1000.0)
        statuses[clip.status] = statuses.get(clip.status, 0) + 1
        if fault := fault_of(drawn, clip):
            wrong.append(f"{drawn.told}: {fault} [{clip.status} {clip.notes}: {clip.detail}]")
            print(wrong[-1], flush=True)
    worker.close()
    print(statuses)
    assert not wrong, "\n".join(wrong)


def fault_of(drawn: Drawn, clip: Clip) -> str:
    """What is wrong with what was read; "" where nothing is."""
    if clip.status in TOLD:
        return "good audio isn't read" if drawn.sound else ""
    wave = clip.samples / 32768
    if drawn.sound and len(wave) / SAMPLE_RATE < drawn.seconds - FRAME:
        return f"{len(wave) / SAMPLE_RATE:.2f} s of {drawn.seconds:.2f} s are read"
    # Of joined files ffmpeg reads only the first, of some kinds, and tells changes of rate a frame late; of each alone it does well.
    faults = [difference(wave, [drawn.path])]
    if faults[0] and len(drawn.pieces) > 1:
        faults.append(difference(wave, drawn.pieces))
    return "" if "" in faults else faults[-1]


def difference(wave: np.ndarray, paths: Sequence[Path]) -> str:
    """What differs between a reading and what ffmpeg makes of some files; "" where nothing does, or ffmpeg makes nothing."""
    reference = np.concatenate([by_ffmpeg(path) for path in paths])
    seconds = len(wave) / SAMPLE_RATE, len(reference) / SAMPLE_RATE
    if len(reference) and abs(seconds[0] - seconds[1]) > FRAME + JOINT * (len(paths) - 1):
        return f"{seconds[0]:.2f} s are read, by ffmpeg {seconds[1]:.2f} s"
    likeness = correlation(wave, reference)
    return "" if likeness > 0.95 else f"correlation with ffmpeg {likeness:.2f} over {seconds[1]:.2f} s"


def by_ffmpeg(path: Path) -> np.ndarray:
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", path, "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout, np.float32).astype(float)


def correlation(wave: np.ndarray, other: np.ndarray) -> float:
    """Piece by piece, each at its best shift (joined files shift by a frame where they meet), weighed by loudness; 1 for silence."""
    count = min(len(wave), len(other))
    wave, other = wave[:count], np.pad(np.clip(other, -1, 1), MOST)
    alike = loud = 0.0
    for start in range(0, count, COMPARED):
        ours = wave[start : start + COMPARED]
        near = other[start : start + len(ours) + 2 * MOST]
        power = np.sqrt(np.sum(ours**2))
        if power < 1e-3 * np.sqrt(len(ours)):
            continue
        products = scipy.signal.correlate(near, ours, mode="valid", method="fft")
        powers = np.sqrt(np.maximum(scipy.signal.correlate(near**2, np.ones(len(ours)), mode="valid", method="fft"), 1e-9))
        alike, loud = alike + power * float((products / powers).max()), loud + power**2
    return alike / loud if loud else 1.0
