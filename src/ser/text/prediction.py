"""Probabilities for a table of texts, or of clips with their transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser.calibration import read_temperature, scaled
from ser.config import DataConfig
from ser.data.inputs import Input, Store, open_store, without_transcript
from ser.data.tables import Table
from ser.data.text_store import TextStore
from ser.device import make_accelerator
from ser.errors import UserError
from ser.inference import model_folders, predict_probabilities
from ser.models import input_of, load_model


def input_of_model(model: str | Path) -> Input:
    """What a run, fold or model folder takes of a clip."""
    return input_of(load_model(model_folders(model)[0]).kind)


def predict_table(model: str | Path, table: Table, data: DataConfig, batch_size: int = 16, precision: str = "auto") -> pd.DataFrame:
    """Predict the texts (and clips) of a table with a run (mean over its folds), a fold or a model folder.

    Returns one row per row of the table: text, status, label, confidence, p_<label> …; a text that can't be used has its status, and
    no label.
    """
    folders = model_folders(model)
    first = load_model(folders[0])
    data = replace(data, max_seconds=first.max_seconds or data.max_seconds, noise_reduction=first.noise_reduction)
    store = open_store(input_of(first.kind), table, data)
    rows = np.flatnonzero(store.usable)
    probabilities, names = _probabilities(folders, store, rows, batch_size, precision)
    status = store.report["status"].where(~without_transcript(store), "no_transcript")
    result = pd.DataFrame({"text": table.texts, "status": status})
    result.loc[rows, "label"] = [names[i] for i in probabilities.argmax(1)]
    result.loc[rows, "confidence"] = probabilities.max(1, initial=0.0)
    for i, name in enumerate(names):
        result.loc[rows, f"p_{name}"] = probabilities[:, i]
    return result


def predict_texts(model: str | Path, texts: Sequence[str], batch_size: int = 16) -> tuple[np.ndarray, tuple[str, ...]]:
    """Probabilities (n, labels) of texts, none of which may be empty, and the names of the labels."""
    return _probabilities(model_folders(model), TextStore(texts), np.arange(len(texts)), batch_size, "auto")


def _probabilities(
    folders: list[Path], store: Store, rows: np.ndarray, batch_size: int, precision: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The mean over the folders' models, one in memory at a time. Raises UserError where their labels differ."""
    accelerator = make_accelerator(precision)
    total, names, temperature = 0.0, None, read_temperature(folders[0])
    for number, folder in enumerate(folders, 1):
        network = load_model(folder).to(accelerator.device)
        names = names or network.label_names
        if network.label_names != names:
            raise UserError(f"{folder} has the labels {network.label_names}, but the folds before it {names}.")
        if isinstance(store, TextStore) and input_of(network.kind) != "text":
            raise UserError(f"{folder} is a {network.kind} model, which takes {input_of(network.kind)}; a model of texts is needed.")
        title = f"model {number}/{len(folders)}"
        total = total + scaled(predict_probabilities(network, store, rows, batch_size, accelerator, title=title), temperature)
    return total / len(folders), names
