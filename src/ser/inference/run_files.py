"""The files of a run folder, one by one, each checked as it is read; which folds are finished, and a run that lacks some refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config.data import ALWAYS_TRAINED
from ser.data.csv_input import read_csv_input
from ser.data.label_matrix import from_plain
from ser.runtime.errors import UserError
from ser.runtime.files import read_json


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV with every cell as text, so that ids such as 007 or NA stay what they are. Raises UserError."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    source = read_csv_input(path)
    return pd.DataFrame(source.rows, columns=list(source.header), dtype=object)


IN_ONE_GO = "nothing: the model is fitted in one go"
"""`epoch_chosen_by` in the metrics.json of a model without epochs."""


def is_fitted_in_one_go(metrics: Mapping) -> bool:
    """Whether a fold's model was fitted at once, so that its one row of history is no epoch. metrics: of its metrics.json."""
    return metrics.get("epoch_chosen_by") == IN_ONE_GO


def read_data(path: Path) -> tuple[dict, list[dict], np.ndarray]:
    """data.json, its training clips that were used, and their labels: (N,), or (N, C) of 0 and 1 where they may be several."""
    data = read_record(path, ("fingerprint", "label_names", "train", "test", "split"))
    try:
        unused = {clip["id"] for clip in data.get("dropped", ())}
        train = [clip for clip in data["train"] if clip["id"] not in unused]
        labels = [clip["label"] for clip in train]
        several = data.get("multi_label", False)
        labels = from_plain(labels, len(data["label_names"])) if several else np.array(labels, dtype=np.int64)
        complete = all(isinstance(clip[key], str) for clip in [*train, *data["test"]] for key in ("id", "audio_hash"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} isn't as `python -m ser.train` writes it ({type(error).__name__}: {error}).") from None
    if not complete:
        raise UserError(f"{path} isn't as `python -m ser.train` writes it: ids and audio hashes must be text.")
    if len(labels) == 0 or several:
        if len(labels) == 0:
            raise UserError(f"{path} holds no training clip.")
        return data, train, labels
    if labels.min() < 0 or labels.max() >= len(data["label_names"]):
        raise UserError(f"{path}: the training clips need labels from 0 to {len(data['label_names']) - 1}.")
    return data, train, labels


def finished_folds(folder: Path, wanted: Sequence[int], allow_missing: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which are finished and which missing; a fold is finished when its metrics.json is there, which is written last.

    Raises UserError where predictions of some clips are lacking, for now or (ALWAYS_TRAINED) for good, unless that is allowed.
    """
    if ALWAYS_TRAINED in wanted and not allow_missing:
        raise UserError(
            f"{folder} is one model, without out-of-fold predictions of the clips it was trained on, which are needed here. Train folds, "
            "e.g. --cv.n 5. (--allow_missing_folds of `ser.ensemble` and `ser.bundle` takes it all the same, by its held-out clips.)"
        )
    wanted = [fold for fold in wanted if fold != ALWAYS_TRAINED]
    finished = tuple(fold for fold in wanted if (folder / f"fold_{fold}" / "metrics.json").is_file())
    missing = tuple(fold for fold in wanted if fold not in finished)
    if not finished or (missing and not allow_missing):
        raise UserError(
            f"{folder}: {len(finished)} of {len(wanted)} folds are finished, missing: {', '.join(map(str, missing))}. "
            "Run the same `python -m ser.train` again to finish them"
            + ("; --allow_missing_folds of `ser.ensemble` and `ser.bundle` takes what is there." if finished else ".")
        )
    return finished, missing


def read_metrics(path: Path, fold: int, label_names: Sequence[str]) -> dict:
    metrics = read_record(path, ("fold", "epoch", "scores", "label_names", "train_clips"))
    if metrics["fold"] != fold or list(metrics["label_names"]) != list(label_names):
        raise UserError(
            f"{path} is of fold {metrics['fold']} with labels {', '.join(metrics['label_names'])}; fold {fold} with labels "
            f"{', '.join(label_names)} is expected. Was the folder copied from another run?"
        )
    return metrics


def read_fold_numbers(path: Path, ids: Sequence[str]) -> np.ndarray:
    table = read_csv(path)
    if list(table.columns) != ["id", "fold"]:
        raise UserError(f"{path} has the columns {', '.join(table.columns)}; id, fold are expected.")
    known = dict(zip(unique(table["id"], path), table["fold"], strict=True))
    lacking = [name for name in ids if name not in known]
    if lacking:
        raise UserError(f"{path} gives no fold for {len(lacking)} training clips, first {lacking[0]}.")
    try:
        return np.array([int(known[name]) for name in ids], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path}: a fold isn't a whole number ({error}).") from None


def unique(names: Sequence[str], where: Path) -> tuple[str, ...]:
    index = pd.Index(names)
    if index.has_duplicates:
        raise UserError(f"{where}: the id {index[index.duplicated()][0]} is there more than once.")
    return tuple(names)


def read_record(path: Path, keys: Sequence[str]) -> dict:
    if not path.is_file():
        raise UserError(f"{path} is missing: this isn't a whole run folder. Run `python -m ser.train` again to complete it.")
    try:
        content = read_json(path)
    except ValueError as error:
        raise UserError(f"{path} can't be read: {error}") from None
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise UserError(f"{path} lacks {', '.join(lacking)}.")
    return content
