"""Labelled clips for training: a folder per emotion or AI Hub's files, and a torch data set over them for a loop of one's own."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ser.config import AugmentConfig, DataConfig, load_config
from ser.config.shipped import shipped_config
from ser.data.augmentation import Augmenter
from ser.data.labels import canonical, label_set
from ser.data.store import ClipStore
from ser.data.tables import read_dataset
from ser.runtime.errors import UserError
from ser.runtime.files import write_text
from ser.runtime.seeds import seed_of

RECIPE = "xlsr_korean_15"


def load_dataset_from_directory(directory: str | Path) -> tuple[list[str], list[str]]:
    """The clips of a folder per emotion (`Angry/x.wav`, `분노/y.mp3`), of a CSV `file_path,emotion`, or of a competition folder.

    Returns (paths, labels): the files, and for each the key of its emotion (`data.labels`). Nothing is decoded yet. Raises UserError for
    a folder that names no emotion, one without audio, and whatever else is wrong.
    """
    dataset = read_dataset(DataConfig(root=str(directory), allow_absolute_paths=True))
    table = dataset.train
    return [str(path) for path in table.paths], [dataset.label_names[label] for label in table.labels]


def as_list(given: Any) -> list:
    """A single path or label, given where several are wanted, is a list of one and not of its letters."""
    return [given] if isinstance(given, (str, Path)) else list(given)


def write_clips(path: str | Path, paths: Sequence[str | Path], labels: Sequence[str], speakers: Sequence[str] | None = None) -> None:
    """Write a CSV `file_path,emotion[,speaker]` with absolute paths, which training and evaluation read. Raises UserError."""
    paths, labels = as_list(paths), as_list(labels)
    for what, given in (("label", labels), ("speaker", labels if speakers is None else speakers)):
        if len(paths) != len(given):
            raise UserError(f"{len(paths)} paths and {len(given)} {what}s were given; one {what} per path is needed.")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    columns = {"file_path": [str(Path(file).absolute()) for file in paths], "emotion": list(map(str, labels))}
    columns |= {} if speakers is None else {"speaker": list(map(str, speakers))}
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def recipe_augmentation() -> AugmentConfig:
    """The augmentation of the Korean recipe."""
    return load_config(shipped_config(RECIPE)).augment


class SpeechEmotionDataset(Dataset):
    """Clips as a transformers processor's inputs, for a training loop of one's own (`create_trainer` needs none of this).

    data_paths: audio files. labels: names in any alias, or integers in the order of `label_names`. processor: a feature extractor or
    processor of transformers for 16 kHz. is_training: augment; a clip's augmentation follows from the seed, `set_epoch` and its path.
    label_names: default the 15 Korean ones. Raises UserError with the list of files that can't be used.
    """

    def __init__(
        self,
        data_paths: Sequence[str | Path],
        labels: Sequence[str | int],
        processor: Any,
        is_training: bool = False,
        label_names: Sequence[str] = label_set("korean15"),
        max_duration: float = 15.0,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        cache: str = DataConfig.cache,
    ) -> None:
        data_paths, labels = as_list(data_paths), as_list(labels)
        if len(data_paths) != len(labels):
            raise UserError(f"{len(data_paths)} paths and {len(labels)} labels were given; one label per path is needed.")
        self.paths, self.processor, self.seed, self.epoch = [str(path) for path in data_paths], processor, seed, 0
        self.label_names = tuple(label_names)
        self.labels = np.array([self._position(label) for label in labels], dtype=np.int64)
        self.store = ClipStore.open(self.paths, replace(DataConfig(), max_seconds=max_duration, cache=cache))
        if len(bad := np.flatnonzero(~self.store.usable)):
            lines = [f"  {self.paths[row]}  {self.store.report['status'][row]}" for row in bad[:20]]
            raise UserError(f"{len(bad)} of {len(self)} clips can't be used:\n" + "\n".join(lines))
        self.augmenter = Augmenter(augment or recipe_augmentation()) if is_training else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        """`input_values` (T,) (or what the processor makes: `input_features`) and `labels`, a single integer."""
        wave = self.store[row]
        if self.augmenter is not None:
            wave = self.augmenter(wave, seed_of(self.seed, "augment", self.epoch, self.paths[row]))
        inputs = self.processor(wave, sampling_rate=16_000, return_tensors="pt")
        return {name: value[0] for name, value in inputs.items()} | {"labels": torch.tensor(self.labels[row])}

    def set_epoch(self, epoch: int) -> None:
        """Augment differently from now on."""
        self.epoch = epoch

    def collate(self, items: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Pad items to one batch: the loader's `collate_fn`."""
        inputs = [{name: value for name, value in item.items() if name != "labels"} for item in items]
        return dict(self.processor.pad(inputs, return_tensors="pt")) | {"labels": torch.stack([item["labels"] for item in items])}

    def _position(self, label: str | int) -> int:
        if isinstance(label, (int, np.integer)):
            if not 0 <= label < len(self.label_names):
                raise UserError(f"label {label}: allowed are 0 to {len(self.label_names) - 1}.")
            return int(label)
        key = label if label in self.label_names else canonical(label)
        if key not in self.label_names:
            raise UserError(f"label {label!r}: not among {', '.join(self.label_names)}. Give other label_names.")
        return self.label_names.index(key)
