"""What is said about one file or text, and the files that many such answers are written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import pandas as pd

from ser.report.tables import without_formulas
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv, write_json


class Prediction(TypedDict):
    """What is said about one file, or one text. Without a usable status the emotion, its Korean name and the confidence are None."""

    file_path: str
    """"" where only a text was given."""
    predicted_emotion: str | None
    """The label, as the model names it: a key of `ser.data.labels` where the emotion is known there."""
    predicted_emotion_ko: str | None
    confidence: float | None
    """Probability of the predicted emotion, 0 to 1."""
    probabilities: dict[str, float]
    """Of every label, in the model's order; empty where the file can't be used."""
    status: str
    """ok, or what was noticed: no_transcript (predicted by the audio alone), resampled, downmixed, too_long (cut to the model's length),
    clipped, incomplete; unusable are missing, undecodable, truncated, non_finite, out_of_scale, too_short, silent and empty_text."""
    detail: str
    """The status in words."""
    duration: float
    """Seconds of the whole file; 0 where unknown, and of texts."""


def write_predictions(results: Sequence[Prediction], path: str | Path, label_names: Sequence[str]) -> None:
    """Write predictions as .json (a list of them) or .csv (probabilities in columns p_<label>). Raises UserError for another ending."""
    path = Path(path)
    check_output(path)
    if path.suffix.lower() == ".json":
        write_json(path, list(results))
        return
    rows = [
        {key: value for key, value in result.items() if key != "probabilities"}
        | {f"p_{name}": result["probabilities"].get(name) for name in label_names}
        for result in results
    ]
    columns = [key for key in Prediction.__annotations__ if key != "probabilities"] + [f"p_{name}" for name in label_names]
    write_csv(path, without_formulas(pd.DataFrame(rows, columns=columns)))


def check_output(path: str | Path | None) -> None:
    """Raise UserError for an ending that predictions can't be written to; before any work is done."""
    if path is not None and Path(path).suffix.lower() not in (".csv", ".json"):
        raise UserError(f"output: given {path}; allowed endings are .csv and .json.")
