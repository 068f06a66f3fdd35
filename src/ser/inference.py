"""Probabilities from a model, one way for training, prediction and evaluation.

A clip's probabilities don't depend on the clips around it: batches are of near-equal length under a mask,
or of exactly equal length for models that take none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from tqdm import tqdm

from ser.config import DataConfig
from ser.data.batches import PreparedClips, load_batches, prediction_batches
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.device import make_accelerator
from ser.errors import UserError, is_out_of_memory
from ser.models import FITTED_AT_ONCE, load_model
from ser.models.base import SerModel

if TYPE_CHECKING:
    from ser.models.classical import ClassicalModel


class BatchTooLarge(UserError):
    """Memory is too small for a prediction's batch; smaller ones give the same probabilities."""


def predict_probabilities(
    model: SerModel | ClassicalModel,
    store: Store,
    rows: np.ndarray,
    batch_size: int,
    accelerator: Accelerator,
    workers: int = 0,
    title: str | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Softmax probabilities (len(rows), labels) as float64, in the order of `rows`.

    title: shows a progress bar under this name. after_batch: called after every batch; may raise to end the prediction.
    Raises BatchTooLarge when memory runs out.
    """
    rows = np.asarray(rows)
    if model.kind in FITTED_AT_ONCE:
        return model.predict(store, rows, title=title, after_file=after_batch)
    place = {row: i for i, row in enumerate(rows.tolist())}
    probabilities = np.empty((len(rows), len(model.label_names)))
    batches = prediction_batches(store.frames, rows, batch_size, model.exact_length)
    model.eval()
    with (
        torch.inference_mode(),
        tqdm(total=len(rows), unit="clip", desc=title, disable=True if title is None else None, leave=False) as bar,
    ):
        clips = PreparedClips(store, model.frontend, voices=store.voices if model.uses_voices else None)
        for batch_rows, batch in load_batches(clips, batches, workers):
            try:
                batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
                with accelerator.autocast():
                    logits = model(**batch)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise BatchTooLarge(
                    f"out of memory when predicting {len(batch_rows)} clips of up to {store.longest(batch_rows)} at once. "
                    "Take a smaller batch: train.eval_batch_size in training, --batch_size in prediction."
                ) from error
            probabilities[[place[row] for row in batch_rows.tolist()]] = torch.softmax(logits.double(), dim=-1).cpu().numpy()
            bar.update(len(batch_rows))
            after_batch()
    return probabilities


def model_folders(path: str | Path) -> list[Path]:
    """The model folders of a run (all its finished folds), of one fold, or the model folder itself."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"no such model: {path}. Give a run folder (outputs/X), a fold (outputs/X/fold_0) or a model folder.")
    if (path / "config.json").exists() or (path / "ser_model.json").exists():
        return [path]
    if (path / "model").is_dir():
        return [path / "model"]
    folds = sorted(path.glob("fold_*/metrics.json"), key=lambda file: int(file.parent.name.split("_")[1]))
    if not folds:
        raise UserError(f"{path} holds no trained model: no config.json, no model/ and no finished fold_*/ in it.")
    return [file.parent / "model" for file in folds]


def predict_files(
    model: str | Path, files: list[Path], data: DataConfig, batch_size: int = 16, precision: str = "auto", workers: int = 0
) -> pd.DataFrame:
    """Predict audio files with a run (mean over its folds), a fold or a model folder.

    Returns one row per file in the order given: path, status, seconds, label, confidence, p_<label> …; a file
    that can't be used has its status, and no label.
    """
    folders = model_folders(model)
    accelerator = make_accelerator(precision)
    store, names, total = None, None, None
    for number, folder in enumerate(folders, 1):
        network = load_model(folder).to(accelerator.device)
        if store is None:
            # Cut as in training: the model's folder carries the length it was trained with.
            store = ClipStore.open(files, replace(data, max_seconds=network.max_seconds), "clips")
            names, rows = network.label_names, np.flatnonzero(store.usable)
            total = np.zeros((len(rows), len(names)))
        if network.label_names != names:
            raise UserError(f"{folder} has the labels {network.label_names}, but the folds before it {names}.")
        total += predict_probabilities(network, store, rows, batch_size, accelerator, workers, f"model {number}/{len(folders)}")
    total /= len(folders)
    table = pd.DataFrame({"path": [str(file) for file in files], "status": store.report["status"], "seconds": store.report["seconds"]})
    table.loc[rows, "label"] = [names[i] for i in total.argmax(1)]
    table.loc[rows, "confidence"] = total.max(1, initial=0.0)
    for i, name in enumerate(names):
        table.loc[rows, f"p_{name}"] = total[:, i]
    return table
