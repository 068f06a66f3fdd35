"""Augmented copies of the training clips, for models that are fitted in one go and so hear every clip once.

A copy is a function of the run's seed, its number and the clip's id, whatever the fold: it is made once, and kept beside the packed clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.audio.recording import to_int16
from ser.config import as_plain
from ser.data.augmentation import Augmenter
from ser.data.inputs import Store
from ser.data.packed import Damaged, PackedFolder
from ser.data.store import ClipStore, JoinedClips, hash_samples
from ser.runtime.progress import ProgressBar
from ser.runtime.seeds import seed_of
from ser.train.experiment import Experiment

FORMAT = 2  # raise it when the same settings make other copies
ADDED_AT_ONCE = 64  # copies that a kill may cost


def with_copies(run: Experiment, rows: np.ndarray, stop_if_asked: Callable[[], None]) -> tuple[Store, np.ndarray]:
    """The training clips and behind them `train.augmented_copies` copies of each; the rows to learn from, those of the copies last.

    stop_if_asked: called now and then; may raise to leave the rest for the next time.
    """
    store, numbers = run.train_store, range(1, run.config.train.augmented_copies + 1)
    if not numbers:
        return store, rows
    augmenter = Augmenter(run.config.augment, run.config.data.cache)
    copies = [_copies(store, augmenter, run.config.run.seed, number, stop_if_asked) for number in numbers]
    table = store.table.take(np.tile(np.arange(len(store)), 1 + len(numbers)))
    joined = Store(table, JoinedClips([store.clips, *copies]), reads=False)
    return joined, np.concatenate([rows, *(rows + number * len(store) for number in numbers)])


def _copies(store: Store, augmenter: Augmenter, seed: int, number: int, stop_if_asked: Callable[[], None]) -> ClipStore:
    """The copies of this number of all clips; those that aren't kept yet are made now."""
    seeds = [seed_of(seed, "augment", number, clip_id) for clip_id in store.table.ids]
    names = [f"{sound} {own}" for sound, own in zip(store.report["audio_hash"], seeds, strict=True)]
    packed = PackedFolder(store.clips.folder.parent / f"copies-{_digest(augmenter)}")
    try:
        packed.read()
    except Damaged:
        packed.rows = {}
    if not packed.rows.keys() >= set(names):
        with packed.adding():
            missing = [row for row, name in enumerate(names) if name not in packed.rows]
            with ProgressBar(total=len(missing), what=f"augmented copies {number}") as bar:
                for start in range(0, len(missing), ADDED_AT_ONCE):
                    chunk = missing[start : start + ADDED_AT_ONCE]
                    packed.add(_copy(store, augmenter, row, seeds[row], names[row]) for row in chunk)
                    bar.update(len(chunk))
                    stop_if_asked()
    found = [packed.rows[name] for name in names]
    report = store.report.assign(audio_hash=[row["audio_hash"] for row in found], seconds=[row["frames"] / SAMPLE_RATE for row in found])
    offsets, frames = (np.array([row[key] for row in found], np.int64) for key in ("offset", "frames"))
    return ClipStore(packed.audio, report, offsets, frames)


def _copy(store: Store, augmenter: Augmenter, row: int, seed: int, name: str) -> tuple[dict, bytes]:
    samples = to_int16(augmenter(store[row].samples, seed)).tobytes()
    return {"content": name, "audio_hash": hash_samples(samples)}, samples


def _digest(augmenter: Augmenter) -> str:
    """What the copies depend on besides the clip: the settings, and the sounds that are laid over it."""
    settings = [FORMAT, as_plain(augmenter.config), augmenter.sound_hashes]
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()
