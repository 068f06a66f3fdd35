"""Which clips go into which batch, the loader that prepares them in worker processes, and each clip's seed of augmentation.

Training: an epoch is a list of groups, one optimizer step each, of near-equal length; the order follows
from a seed alone. Prediction: batches of near-equal length, or of exactly equal length for models whose
output would change with padding.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ser.data.augmentation import Augmenter
from ser.data.inputs import Store
from ser.runtime.seeds import seed_of

LARGEST_POOL = 50
"""Groups sorted by length together: more saves padding, fewer mixes better (1 % padding at 50, FACTS of the field 23 % unsorted)."""


def training_groups(frames: np.ndarray, rows: np.ndarray, group_size: int, seed: int) -> list[list[int]]:
    """Split `rows` into groups of near-equal length, every row once, in an order that depends on the seed only.

    frames: samples of every clip of the table (indexed by row). rows: of the table, or draws as `balanced_draws` makes them.
    The last group of a pool may be smaller; none is dropped.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.asarray(rows))
    # At least four pools, so that on small data a batch isn't the same clips in every epoch.
    pool_groups = int(np.clip(len(order) // (4 * group_size), 1, LARGEST_POOL))
    groups = []
    for pool in _cut(order, pool_groups * group_size):
        by_length = pool[np.argsort(frames[row_of(pool, len(frames))], kind="stable")]
        groups += [group.tolist() for group in _cut(by_length, group_size)]
    return [groups[i] for i in rng.permutation(len(groups))]


def balanced_draws(labels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """As many draws as there are rows, each label equally often; a label's clips all come once before one comes again.

    labels: of every clip of the table. A draw says which clip (`row_of`) and the how-manieth time it is drawn (`copy_of`).
    """
    rng = np.random.default_rng(seed)
    rows = np.asarray(rows)
    present = np.unique(labels[rows])
    counts = np.full(len(present), len(rows) // len(present))
    counts[rng.permutation(len(present))[: len(rows) % len(present)]] += 1
    draws = []
    for label, count in zip(present, counts, strict=True):
        own = rows[labels[rows] == label]
        copies = [rng.permutation(own) + copy * len(labels) for copy in range(-(-count // len(own)))]
        draws.append(np.concatenate(copies)[:count])
    return np.concatenate(draws)


def row_of(draw: Any, clips: int) -> Any:
    """The row of a draw (or of an array of them) from a table of so many clips; a row is its own first draw."""
    return draw % clips


def copy_of(draw: Any, clips: int) -> Any:
    """0 for the first time a clip is drawn in an epoch, 1 for the second."""
    return draw // clips


def prediction_batches(frames: np.ndarray, rows: np.ndarray, batch_size: int, exact_length: bool) -> list[list[int]]:
    """Split `rows` into batches, longest clips first (if memory is short, that shows at once)."""
    by_length = np.asarray(rows)[np.argsort(-frames[rows], kind="stable")]
    if not exact_length:
        return [batch.tolist() for batch in _cut(by_length, batch_size)]
    starts = np.flatnonzero(np.diff(frames[by_length])) + 1
    return [batch.tolist() for same in np.split(by_length, starts) for batch in _cut(same, batch_size)]


def _cut(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


MOST_KEPT = 256_000_000
"""Bytes of features in memory, about: of 10,000 clips of 2.5 s as 40 MFCC."""


class PreparedClips(Dataset):
    """Clips by row as model inputs: read from the store, augmented (training only), prepared by the model's frontend."""

    def __init__(
        self,
        store: Store,
        frontend: Any,
        augmenter: Augmenter | None = None,
        seed: int = 0,
        epoch: int = 0,
    ):
        self.store, self.frontend, self.augmenter, self.seed, self.epoch = store, frontend, augmenter, seed, epoch
        self.features_name = getattr(frontend, "features_name", None)  # of what it makes of a clip that doesn't change
        self._hashes = None if self.features_name is None else store.report["audio_hash"].to_numpy()

    def __getitem__(self, draw: int) -> tuple[int, np.ndarray]:
        clips = len(self.store.frames)
        row, copy = row_of(draw, clips), copy_of(draw, clips)
        clip = self.store[row]
        if self.augmenter is not None and self.augmenter.active:
            again = ("copy", copy) if copy else ()
            seed = seed_of(self.seed, "augment", self.epoch, clip.id, *again)
            return row, self.frontend.prepare(clip._replace(samples=self.augmenter(clip.samples, seed)))
        if self.features_name is None:
            return row, self.frontend.prepare(clip)
        return row, self.frontend.prepare(clip, self._features(row, clip.samples))

    def _features(self, row: int, samples: np.ndarray) -> np.ndarray:
        """The frontend's features of a clip, computed once for all epochs and folds of a process, as far as MOST_KEPT reaches."""
        kept = self.store.clips.kept(self.features_name)
        if (features := kept.get(self._hashes[row])) is None:
            features = self.frontend.features(samples)
            if (len(kept) + 1) * features.nbytes <= MOST_KEPT:
                kept[self._hashes[row]] = features
        return features

    def collate(self, items: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
        rows, inputs = zip(*items, strict=True)
        return np.asarray(rows), self.frontend.collate(list(inputs))


def load_batches(clips: PreparedClips, batches: list[list[int]], workers: int) -> DataLoader:
    """A loader that yields (rows, model inputs) for each batch, in the order given."""
    return DataLoader(
        clips,
        batch_sampler=batches,
        collate_fn=clips.collate,
        num_workers=min(workers, len(batches)),
        worker_init_fn=_start_worker if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _start_worker(_: int) -> None:
    """Ctrl-C reaches the whole process group: only the main process decides what to do about it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
