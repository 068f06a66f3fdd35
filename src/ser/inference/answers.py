"""From probabilities to what is answered (columns label, confidence, p_<label>): the likeliest, or all that reach their thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.data.label_matrix import listed
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.calibration import run_folder_of
from ser.scoring.thresholds import FILE, UNFITTED, given_by


def labels_given(probabilities: np.ndarray, label_names: Sequence[str], thresholds: np.ndarray | None) -> list[str]:
    """The answer for each row (N, C): one label; with thresholds (C,) a list, joy|sadness, "" where no label reaches its own."""
    if thresholds is None:
        return [label_names[number] for number in probabilities.argmax(axis=1)] if len(probabilities) else []
    return listed(given_by(probabilities, thresholds), label_names)


def with_answers(
    table: pd.DataFrame, probabilities: np.ndarray, label_names: Sequence[str], usable: np.ndarray, thresholds: np.ndarray | None
) -> pd.DataFrame:
    """The table with label, confidence (of the likeliest) and p_<label> … in the usable rows, which the probabilities (rows, C) are of."""
    rows = np.flatnonzero(usable)
    table.loc[rows, "label"] = labels_given(probabilities, label_names, thresholds)
    table.loc[rows, "confidence"] = probabilities.max(1, initial=0.0)
    for number, name in enumerate(label_names):
        table.loc[rows, f"p_{name}"] = probabilities[:, number]
    return table


def several_labels(model: str | Path) -> UserError:
    """What is said where one label a clip is needed, of a model or a run that gives several."""
    return UserError(
        f"{model} gives a clip several labels (data.multi_label), and here one is needed. "
        "Several are told by `python -m ser.predict`, `python -m ser.diary` and the run's report.html."
    )


def read_thresholds(model: str | Path, label_names: Sequence[str]) -> np.ndarray:
    """(C,) those of the run that a run, fold or model folder belongs to; UNFITTED for all labels where there is none.

    Raises UserError when the file can't be used.
    """
    run = run_folder_of(model)
    path = None if run is None else run / FILE
    if path is None or not path.is_file():
        return np.full(len(label_names), UNFITTED)
    try:
        found = read_json(path)["thresholds"]
        thresholds = np.array([float(found[name]) for name in label_names])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} can't be read ({type(error).__name__}: {error}). Run the same `python -m ser.train` again.") from None
    if not np.isfinite(thresholds).all():
        raise UserError(f"{path}: a threshold isn't a number. Run the same `python -m ser.train` again.")
    return thresholds
