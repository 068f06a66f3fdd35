"""The demo folder: how many clips, who says what, and how it is written whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ser.make_demo.score import SAMPLE_RATE, SENTENCES
from ser.make_demo.synthesis import speak
from ser.make_demo.voices import EMOTIONS, make_speaker
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, read_json, write_csv, write_json
from ser.runtime.processors import processors
from ser.runtime.progress import ProgressBar
from ser.runtime.seeds import seed_of

MARKER = "demo.json"
CLIPS, TEST_CLIPS = 600, 120
EDITION = 1  # of the voices: a folder made by another edition isn't taken for the same data
TRAIN_SPEAKERS = tuple(f"S{number:02d}" for number in range(30))
NEW_SPEAKERS = tuple(f"S{number:02d}" for number in range(30, 40))
KEPT = {"README.md", ".gitkeep", ".gitignore", ".DS_Store"}  # what a folder without data may hold


def make_demo(output: str | Path, clips: int = CLIPS, test_clips: int = TEST_CLIPS, seed: int = 0) -> bool:
    """Make synthetic data in the competition's form in `output`. Returns False when it is there already.

    Half of the test clips are spoken by voices that aren't in train. The folder appears complete or not at all.
    Raises UserError when `output` holds anything else: data is never overwritten.
    """
    if clips < len(EMOTIONS):
        raise UserError(f"clips: given {clips}; at least {len(EMOTIONS)} are needed, one of each emotion.")
    if test_clips < 1:
        raise UserError(f"test_clips: given {test_clips}; at least 1 is needed.")
    output = Path(output).resolve()  # a link to a bigger disk stays a link
    settings = {"edition": EDITION, "clips": clips, "test_clips": test_clips, "seed": seed}
    if _is_there(output, settings):
        return False
    train = _plan("TRAIN", [(TRAIN_SPEAKERS, clips)], seed)
    test = _plan("TEST", [(TRAIN_SPEAKERS, test_clips - test_clips // 2), (NEW_SPEAKERS, test_clips // 2)], seed)
    with atomic_folder(output) as folder:
        for name in KEPT:
            if (output / name).is_file():
                shutil.copy2(output / name, folder / name)
        (folder / "train").mkdir()
        (folder / "test").mkdir()
        _write_clips(folder, pd.concat([train, test]), seed)
        write_csv(folder / "train.csv", train[["id", "path", "label"]])
        write_csv(folder / "train_speakers.csv", train[["id", "speaker"]])
        write_csv(folder / "test.csv", test[["id", "path"]])
        write_csv(folder / "test_labels.csv", test[["id", "path", "label", "speaker"]])
        write_csv(folder / "sample_submission.csv", test[["id"]].assign(label=0))
        about = "Synthetic demo data made by `python -m ser.make_demo`. Nobody's voice; scores on it say nothing about real speech."
        write_json(folder / MARKER, {"about": about, "settings": settings, "train_csv": _hash(folder / "train.csv")})
    return True


def is_demo(folder: str | Path) -> bool:
    """Whether a folder holds the demo data, and not real data that was put over it."""
    marker, table = Path(folder) / MARKER, Path(folder) / "train.csv"
    return marker.is_file() and table.is_file() and read_json(marker).get("train_csv") == _hash(table)


def _is_there(output: Path, settings: dict) -> bool:
    if output.is_file():
        raise UserError(f"--output: given {output}, which is a file; allowed is a folder, or a name that doesn't exist yet.")
    held = sorted({item.name for item in output.iterdir()} - KEPT) if output.is_dir() else []
    if not held:
        return False
    if not is_demo(output):
        raise UserError(
            f"{output} holds other data ({', '.join(held[:5])}{', ...' if len(held) > 5 else ''}), which is never overwritten. "
            "Give another folder with --output, or move that data away first."
        )
    there = read_json(output / MARKER)["settings"]
    if there != settings:
        raise UserError(
            f"{output} holds demo data made with other settings ({_words(there)}; asked for {_words(settings)}). "
            "Delete that folder, or give another one with --output."
        )
    return True


def _plan(part: str, voices: list[tuple[tuple[str, ...], int]], seed: int) -> pd.DataFrame:
    """Who says what with which emotion: voices and emotions as even as the counts allow, in a shuffled order."""
    said = [
        (speakers[turn % len(speakers)], (turn // len(speakers) + turn % len(speakers)) % len(EMOTIONS))
        for speakers, count in voices
        for turn in range(count)
    ]
    random = np.random.Generator(np.random.PCG64(seed_of(seed, "plan", part)))
    order = np.argsort(random.random(len(said)), kind="stable")
    ids = [f"{part}_{number:04d}" for number in range(len(said))]
    return pd.DataFrame(
        {
            "id": ids,
            "path": [f"./{part.lower()}/{name}.wav" for name in ids],
            "label": [said[k][1] for k in order],
            "speaker": [said[k][0] for k in order],
            "sentence": (random.random(len(said)) * len(SENTENCES)).astype(int),
        }
    )


def _write_clips(folder: Path, plan: pd.DataFrame, seed: int) -> None:
    import soundfile

    voices = {name: make_speaker(name, seed) for name in set(plan.speaker)}
    names = tuple(EMOTIONS)

    def write(row: NamedTuple) -> None:
        samples = speak(voices[row.speaker], names[row.label], row.sentence, seed, row.id)
        whole = BytesIO()  # soundfile itself doesn't say that a disk is full
        soundfile.write(whole, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        (folder / row.path).write_bytes(whole.getbuffer())

    pool = ThreadPoolExecutor(processors())
    try:
        for _ in ProgressBar(pool.map(write, plan.itertuples()), "demo clips", len(plan)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C doesn't wait for clips that weren't begun


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _words(settings: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
