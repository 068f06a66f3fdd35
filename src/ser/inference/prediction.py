"""Probabilities from a model, one way for training, prediction and evaluation.

A clip's probabilities don't depend on the clips around it: batches are of near-equal length under a mask,
or of exactly equal length for models that take none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from tqdm import tqdm

from ser.audio import SAMPLE_RATE, to_float
from ser.audio.noise import reduce_noise
from ser.config import DataConfig
from ser.data.batches import PreparedClips, load_batches, prediction_batches
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.models.base import SerModel
from ser.models.hub import checkpoint_folder
from ser.models.registry import FITTED_AT_ONCE, input_of, load_model
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError, is_out_of_memory
from ser.scoring.calibration import read_temperature, scaled

if TYPE_CHECKING:
    from ser.models.classical.classical import ClassicalModel


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


def model_folders(model: str | Path) -> list[Path]:
    """The model folders of a run (all its finished folds), of one fold, the model folder itself, or that of a hub name.

    Raises UserError where there is no model.
    """
    path = Path(model)
    if not path.exists():
        return [_hub_folder(str(model))]
    if path.suffix == ".onnx" or (path / "config.json").exists() or (path / "ser_model.json").exists():
        return [path]
    if (path / "model").is_dir():
        return [path / "model"]
    folds = sorted(path.glob("fold_*/metrics.json"), key=lambda file: int(file.parent.name.split("_")[1]))
    if not folds:
        raise UserError(f"{path} holds no trained model: no config.json, no model/ and no finished fold_*/ in it.")
    return [file.parent / "model" for file in folds]


def _hub_folder(name: str) -> Path:
    told = f"no such model: {name}. Give a run folder (outputs/X), a fold (outputs/X/fold_0), a model folder, a model.onnx or a hub name"
    owner = name.split("/")[0]
    if name.count("/") != 1 or owner in ("", ".", "..", "~") or Path(owner).exists():
        raise UserError(f"{told}.")
    try:
        return checkpoint_folder(name)
    except UserError as error:
        raise UserError(f"{told}. As a hub name: {error}") from None


def load_models(model: str | Path, accelerator: Accelerator) -> Iterator[tuple[str, SerModel | ClassicalModel]]:
    """The models behind `model` (see `model_folders`) one after another, each with a title, on the accelerator's device.

    Raises UserError where one can't be loaded, or has other labels or takes its audio otherwise than the first.
    """
    folders = model_folders(model)
    first = None
    for number, folder in enumerate(folders, 1):
        network = load_model(folder).to(accelerator.device)
        facts = {"labels": network.label_names, "max_seconds": network.max_seconds, "noise_reduction": network.noise_reduction}
        first = first or facts
        if facts != first:
            raise UserError(f"{folder} has {facts}, but the folds before it {first}.")
        yield f"model {number}/{len(folders)}", network


def check_hears(model: str | Path, network: SerModel | ClassicalModel) -> None:
    """Raise UserError for a model that reads texts, where only audio can be given."""
    if (takes := input_of(network.kind)) != "audio":
        raise UserError(f"{model} is a {network.kind} model, which takes {takes}; a model that only hears is needed here.")


class Waves:
    """Clips in memory, read like a ClipStore: int16 samples at 16 kHz, of which some were cut from a recording."""

    folder = None
    voices = None

    def __init__(self, samples: Sequence[np.ndarray], noise_reduction: bool = False) -> None:
        self.samples = [reduce_noise(clip) for clip in samples] if noise_reduction else list(samples)
        self.frames = np.array([len(clip) for clip in self.samples], np.int64)

    def __getitem__(self, row: int) -> np.ndarray:
        return to_float(self.samples[row])


class Predictor:
    """A run (the mean of its folds), a fold, a model folder or a hub name, loaded once to predict again and again.

    All folds stay in memory; where that is too small, open one fold. label_names: the model's own, in its order. max_seconds: how much
    of a clip it hears at once.
    """

    def __init__(self, model: str | Path, batch_size: int = 16, precision: str = "auto") -> None:
        self.model, self.batch_size = str(model), batch_size
        self.accelerator = make_accelerator(precision)
        self.networks = [network for _, network in load_models(model, self.accelerator)]
        self.temperature = read_temperature(model)
        first = self.networks[0]
        check_hears(model, first)
        self.label_names, self.max_seconds, self.noise_reduction = first.label_names, first.max_seconds, first.noise_reduction

    @property
    def compares_clips(self) -> bool:
        """Whether a clip's answer depends on the clips it is given with (voices found by clustering)."""
        return any(network.kind == "classical" and network.chain.space is not None for network in self.networks)

    def probabilities(self, samples: Sequence[np.ndarray]) -> np.ndarray:
        """(n, labels) of n clips, each int16 (T,) at 16 kHz, at least 400 samples long, cut to `max_seconds` here."""
        most = int(self.max_seconds * SAMPLE_RATE)
        waves, rows = Waves([clip[:most] for clip in samples], self.noise_reduction), np.arange(len(samples))
        total = sum(
            scaled(predict_probabilities(network, waves, rows, self.batch_size, self.accelerator), self.temperature)
            for network in self.networks
        )
        return total / len(self.networks)


def predict_files(
    model: str | Path, files: list[Path], data: DataConfig, batch_size: int = 16, precision: str = "auto", workers: int = 0
) -> pd.DataFrame:
    """Predict audio files with a run (mean over its folds), a fold, a model folder or a hub name, one model in memory at a time.

    Returns one row per file in the order given: path, status, seconds, label, confidence, p_<label> …; a file
    that can't be used has its status, and no label.
    """
    table, _ = predict_store(model, files, data, batch_size, precision, workers)
    return table


def predict_store(
    model: str | Path, files: list[Path], data: DataConfig, batch_size: int = 16, precision: str = "auto", workers: int = 0
) -> tuple[pd.DataFrame, ClipStore]:
    """The table of `predict_files`, and the store of the clips as the model heard them."""

    def open_for(network: SerModel | ClassicalModel) -> ClipStore:
        check_hears(model, network)
        return ClipStore.open(files, as_in_training(network, data), "clips")

    probabilities, names, store = mean_probabilities(model, open_for, batch_size, precision, workers)
    table = pd.DataFrame({"path": [str(file) for file in files], "status": store.report["status"], "seconds": store.report["seconds"]})
    return with_predictions(table, probabilities, names, store.usable), store


def mean_probabilities(
    model: str | Path,
    open_for: Callable[[SerModel | ClassicalModel], Store],
    batch_size: int = 16,
    precision: str = "auto",
    workers: int = 0,
    max_tokens: int | None = None,
) -> tuple[np.ndarray, tuple[str, ...], Store]:
    """Probabilities (usable rows, labels): the mean over the models behind `model`, one in memory at a time; the labels; the store.

    open_for: the store for the first of the networks. max_tokens: of a text, that a text encoder reads, where that is less than in
    training.
    """
    accelerator = make_accelerator(precision)
    temperature, store, total, count = read_temperature(model), None, 0.0, 0
    for title, network in load_models(model, accelerator):
        store = open_for(network) if store is None else store
        if max_tokens is not None and network.kind == "text_encoder":
            network.read_at_most(max_tokens)
        rows = np.flatnonzero(store.usable)
        total = total + scaled(predict_probabilities(network, store, rows, batch_size, accelerator, workers, title), temperature)
        count += 1
    return total / count, network.label_names, store


def as_in_training(network: SerModel | ClassicalModel, data: DataConfig) -> DataConfig:
    """Audio is prepared as in training: the model's folder says how (one of texts from elsewhere says nothing)."""
    return replace(data, max_seconds=network.max_seconds or data.max_seconds, noise_reduction=network.noise_reduction)


def with_predictions(table: pd.DataFrame, probabilities: np.ndarray, names: Sequence[str], usable: np.ndarray) -> pd.DataFrame:
    """The table with label, confidence and p_<label> … in the usable rows, which the probabilities (rows, labels) are of."""
    rows = np.flatnonzero(usable)
    table.loc[rows, "label"] = [names[i] for i in probabilities.argmax(1)]
    table.loc[rows, "confidence"] = probabilities.max(1, initial=0.0)
    for i, name in enumerate(names):
        table.loc[rows, f"p_{name}"] = probabilities[:, i]
    return table
