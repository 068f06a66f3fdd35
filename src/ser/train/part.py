"""One model of a run, of a fold or of all training clips: which clips it learns from, which judge it, how many epochs and where it goes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.data.speech_level import typical_level_db
from ser.inference.runs import FULL_FIT
from ser.models.base import Model
from ser.runtime.files import read_json
from ser.runtime.seeds import seed_of
from ser.train.experiment import Experiment


@dataclass(frozen=True, eq=False)
class Part:
    """name: of its folder. title: what messages call it. fold: None for the model of all clips, which nothing judges.

    train_rows, valid_rows: of the training table; train_rows in the order of ids, so that the order of the table's rows doesn't decide
    which clips share a batch. epochs: how many of train.epochs are trained, at the learning rates they have among all of them.
    """

    name: str
    title: str
    fold: int | None
    train_rows: np.ndarray
    valid_rows: np.ndarray
    seed: int
    epochs: int


def fold_part(run: Experiment, fold: int) -> Part:
    """The model of a fold, judged by the clips it leaves out."""
    config = run.config
    train, valid = _by_id(run, np.flatnonzero(run.folds != fold)), np.flatnonzero(run.folds == fold)
    seed = seed_of(config.run.seed, "fold", fold)
    title = f"fold {fold} of {config.cv.n}" if config.cv.n > 1 else "the one model"
    return Part(f"fold_{fold}", title, fold, train, valid, seed, config.train.epochs)


def full_part(run: Experiment) -> Part:
    """The model of all training clips, as long as the folds, which are finished, found best: the median of their best epochs."""
    best = [read_json(run.folder / f"fold_{fold}" / "metrics.json")["epoch"] for fold in range(run.config.cv.n)]
    rows, seed = _by_id(run, np.arange(len(run.train))), seed_of(run.config.run.seed, FULL_FIT)
    return Part(FULL_FIT, "full fit", None, rows, np.arange(0), seed, statistics.median_high(best))


def note_preparation(model: Model, run: Experiment, part: Part) -> None:
    """Tell a new model how its clips were prepared, how loud they are, whether labels are several: kept with it, for prediction."""
    model.noise_reduction, model.multi_label = run.config.data.noise_reduction, run.config.data.multi_label
    clips = run.train_store.clips
    model.speech_level_db = None if clips is None else typical_level_db(clips, part.train_rows)


def is_whole(folder: Path) -> bool:
    """metrics.json is written last: where it is, the model and all that belongs to it are whole."""
    return (folder / "metrics.json").exists()


def _by_id(run: Experiment, rows: np.ndarray) -> np.ndarray:
    return np.array(sorted(rows, key=lambda row: run.train.ids[row]))
