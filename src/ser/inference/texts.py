"""Probabilities for a table of texts, or of clips with their transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import DataConfig
from ser.data.inputs import Input, open_store, without_transcript
from ser.data.tables import Table
from ser.data.text_store import TextStore
from ser.inference.prediction import as_in_training, mean_probabilities, model_folders, with_predictions
from ser.models.base import SerModel
from ser.models.registry import input_of, load_model
from ser.runtime.errors import UserError


def input_of_model(model: str | Path) -> Input:
    """What a run, fold or model folder takes of a clip."""
    return input_of(load_model(model_folders(model)[0]).kind)


def predict_table(model: str | Path, table: Table, data: DataConfig, batch_size: int = 16, precision: str = "auto") -> pd.DataFrame:
    """Predict the texts (and clips) of a table with a run (mean over its folds), a fold or a model folder.

    Returns one row per row of the table: text, status, label, confidence, p_<label> …; a text that can't be used has its status, and
    no label. A clip that was predicted without its words has the status no_transcript.
    """
    probabilities, names, store = mean_probabilities(
        model, lambda network: open_store(input_of(network.kind), table, as_in_training(network, data)), batch_size, precision
    )
    status = store.report["status"].where(~without_transcript(store), "no_transcript")
    return with_predictions(pd.DataFrame({"text": table.texts, "status": status}), probabilities, names, store.usable)


def predict_texts(
    model: str | Path, texts: Sequence[str], batch_size: int = 16, max_tokens: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Probabilities (n, labels) of texts, none of which may be empty, and the names of the labels.

    max_tokens: of a text, that a text encoder reads, where that is less than in training. Raises UserError for a model that hears.
    """

    def open_for(network: SerModel) -> TextStore:
        if (takes := input_of(network.kind)) != "text":
            raise UserError(f"{model} is a {network.kind} model, which takes {takes}; a model of texts is needed.")
        return TextStore(texts)

    probabilities, names, _ = mean_probabilities(model, open_for, batch_size, max_tokens=max_tokens)
    return probabilities, names
