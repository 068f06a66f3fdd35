"""A trained model against clips that may have several labels: the labels it gives by its run's thresholds, scored and written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import DataConfig
from ser.data.csv_input import count, shown
from ser.data.label_column import OWN
from ser.data.label_matrix import listed
from ser.data.tables import Dataset
from ser.evaluate.evaluation import seen_in_training
from ser.inference.answers import read_thresholds
from ser.inference.opening import model_folders
from ser.inference.prediction import predict_table
from ser.models.registry import load_model
from ser.report.multi_label_report import FITTED_ELSEWHERE, as_markdown, how_to_read, plain_page
from ser.report.page.content import Section
from ser.report.page.writing import write_page
from ser.report.tables import without_formulas
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv, write_json, write_text
from ser.scoring.calibration import run_folder_of
from ser.scoring.multi_label import as_records, describe_multi_label, multi_label_scores, per_label
from ser.scoring.thresholds import FILE, UNFITTED, given_by


def evaluate_several(
    model: str | Path, dataset: Dataset, data: DataConfig, output: Path, batch_size: int = 16, precision: str = "auto"
) -> list[str]:
    """Predict and score the clips, write report.html, report.md, report.json and predictions.csv; returns the scores and warnings as lines.

    Labels are matched by name. Raises UserError for a model that gives one label a clip, and for a label of the data that it lacks.
    """
    network = load_model(model_folders(model)[0])
    if not network.multi_label:
        raise UserError(f"{model} gives each clip one label: set data.multi_label to false, or train with it.")
    names, table = network.label_names, dataset.train
    if missing := [name for name in dataset.label_names if name not in names]:
        own = "" if data.labels == OWN else " A model that was trained on labels as they stand wants --data.labels own here, too."
        raise UserError(f"the model has no label for {shown(missing, 6)} of the data: it knows {', '.join(names)}.{own}")
    labels = np.zeros((len(table), len(names)), np.int64)
    labels[:, [names.index(name) for name in dataset.label_names]] = table.labels
    predicted, store = predict_table(model, table, data, batch_size, precision, multi_label=True)
    rows = np.flatnonzero(store.usable)
    if not len(rows):
        raise UserError(f"{dataset.root}: not one of {count(table.ids, 'clip')} can be used.")
    probabilities = predicted.loc[rows, [f"p_{name}" for name in names]].to_numpy(dtype=float)
    given = given_by(probabilities, read_thresholds(model, names))
    result = multi_label_scores(labels[rows], probabilities, table.take(rows).speakers, given)
    classes = per_label(labels[rows], probabilities, names, given)
    report = store.report.iloc[rows]
    warnings = _warnings(seen_in_training(model, report), classes, len(table) - len(rows))
    predicted.insert(0, "true", listed(labels, names))
    predicted.insert(0, "id", table.ids)
    notes = how_to_read(result, _thresholds(model, report))[:2]
    _write(output, f"{model} on {dataset.root}", result, warnings, notes, classes, predicted)
    return [describe_multi_label(result), *(f"warning: {line}" for line in warnings)]


def _warnings(seen: np.ndarray, classes: pd.DataFrame, unusable: int) -> list[str]:
    absent = classes.loc[classes["n"] == 0, "label"].tolist()
    told = {
        f"{int(seen.sum())} of {len(seen)} clips were in this model's training data: their scores say nothing about new clips.": seen.any(),
        f"no clip of the data has {shown(absent, 6)}: such an answer is wrong, and F1 counts it.": bool(absent),
        f"{unusable} clips could not be used and are in no score (see predictions.csv).": unusable > 0,
    }
    return [line for line, applies in told.items() if applies]


def _thresholds(model: str | Path, report: pd.DataFrame) -> str:
    """What the thresholds were fitted to: a run's are to all its clips, whichever of them the model at hand has trained on."""
    run = run_folder_of(model)
    if run is None or not (run / FILE).is_file():
        return f"there are no fitted ones ({FILE}) with this model, so it is {UNFITTED} for all"
    fitted = int(seen_in_training(run, report).sum())
    if not fitted:
        return FITTED_ELSEWHERE
    return f"the thresholds were fitted to {fitted} of these {len(report)} clips themselves, which flatters F1 and accuracy"


def _write(
    output: Path, title: str, result: dict, warnings: list[str], notes: list[str], classes: pd.DataFrame, predicted: pd.DataFrame
) -> None:
    write_csv(output / "predictions.csv", without_formulas(predicted))
    write_json(output / "report.json", {"scores": result, "classes": as_records(classes), "warnings": warnings})
    write_text(output / "report.md", as_markdown(title, "Evaluated", result, warnings, notes, classes, None))
    sections = [Section("How to read", notes), Section("Labels", tables={"Scores per label": classes})]
    write_page(plain_page(title, "Thresholds of the model's run.", result, warnings, sections), output / "report.html")
