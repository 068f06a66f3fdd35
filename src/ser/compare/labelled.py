"""The labelled clips that candidates are measured on, with their truth among the seven labels and speaker-disjoint folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.compare.rules import TARGET, mapped
from ser.config import DataConfig, FoldsConfig
from ser.data.folds import make_folds
from ser.data.inputs import Store, open_store
from ser.data.tables import Table, read_dataset
from ser.runtime.errors import UserError


@dataclass(frozen=True)
class Labelled:
    """N usable clips. `labels` are positions in the set's own `label_names`, `truth` in TARGET, both (N,)."""

    table: Table
    store: Store
    config: DataConfig
    label_names: tuple[str, ...]
    labels: np.ndarray
    truth: np.ndarray
    folds: np.ndarray
    split: str
    left_out: int

    @property
    def rows(self) -> np.ndarray:
        """All rows of table and store."""
        return np.arange(len(self.table))


def read_labelled(config: DataConfig, folds: int, seed: int) -> Labelled:
    """Read the labelled set; clips that can't be used, or whose label is none of the seven, are left out and counted.

    Raises UserError where there are no labels, or where fewer than two of the seven occur.
    """
    dataset = read_dataset(config)
    to_target = mapped(dataset.label_names)
    store = open_store("audio", dataset.train, config, "labelled clips")
    stands = np.array([to_target[label] is not None for label in dataset.train.labels])
    keep = np.flatnonzero(store.usable & stands & dataset.train.scored)
    table = dataset.train.take(keep)
    truth = np.array([TARGET.index(to_target[label]) for label in table.labels], dtype=np.int64)
    if len(np.unique(truth)) < 2:
        raise UserError(f"{config.root}: fewer than two of the labels {', '.join(TARGET)} occur in it, so nothing can be compared.")
    present = np.unique(table.labels)
    names = tuple(dataset.label_names[label] for label in present)
    table_folds, split = make_folds(table, FoldsConfig(n=folds), seed, dataset.label_names)
    labels = np.searchsorted(present, table.labels)
    return Labelled(table, store.take(keep), config, names, labels, truth, table_folds, split, len(dataset.train) - len(keep))
