"""A trained model against labelled clips: whose labels mean what, what was predicted, and whether it is worth believing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import DataConfig
from ser.config.data import ALWAYS_TRAINED
from ser.data.csv_input import count, read_csv_input, shown
from ser.data.labels import canonical, is_emotion, map_label
from ser.data.tables import Dataset
from ser.data.views import View
from ser.inference.prediction import predict_clips
from ser.inference.same_clips import places_in_run
from ser.inference.seed_runs import any_seed
from ser.inference.unfinished import told_of_run
from ser.inference.views import ViewsGain, gain_of_views
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.calibration import expected_calibration_error, read_temperature, reliability, run_folder_of
from ser.scoring.metrics import describe, per_class, scores


@dataclass(frozen=True, eq=False)
class Evaluation:
    """N usable clips and C common labels: those of the data first, then what else the model may answer.

    clips: by column what was taken of each clip, path where it was heard, text where it was read. result: of `scoring.metrics.scores`,
    and ece. mapping: {label: label it was counted as}, only where they differ. unusable: {"id", "status", "path"} of clips that were not
    scored. views: None where the clips were heard as they are. warnings: what keeps the scores from being true.
    """

    model: str
    data: str
    label_names: tuple[str, ...]
    ids: tuple[str, ...]
    clips: dict[str, tuple[str, ...]]
    labels: np.ndarray  # (N,) int64
    probabilities: np.ndarray  # (N, C)
    result: dict
    classes: pd.DataFrame
    reliability: pd.DataFrame
    temperature: float
    mapping: dict[str, str]
    unusable: tuple[dict, ...]
    seen: np.ndarray  # (N,) bool: clips of the model's training data
    views: ViewsGain | None
    warnings: tuple[str, ...]

    @property
    def mistakes(self) -> pd.DataFrame:
        """One row per wrong answer, the surest first: id, path or text, label, predicted, confidence, p_label (of the true one)."""
        best = self.probabilities.argmax(axis=1)
        wrong = np.flatnonzero(best != self.labels)
        wrong = wrong[np.argsort(-self.probabilities[wrong, best[wrong]], kind="stable")]
        return pd.DataFrame(
            {
                "id": [self.ids[row] for row in wrong],
                **{column: [values[row] for row in wrong] for column, values in self.clips.items()},
                "label": [self.label_names[self.labels[row]] for row in wrong],
                "predicted": [self.label_names[best[row]] for row in wrong],
                "confidence": self.probabilities[wrong, best[wrong]],
                "p_label": self.probabilities[wrong, self.labels[wrong]],
            }
        )


def evaluate(
    model: str | Path,
    dataset: Dataset,
    data: DataConfig,
    mapping: Mapping[str, str] | None = None,
    batch_size: int = 16,
    precision: str = "auto",
    views: Sequence[View] = (),
) -> Evaluation:
    """Predict the labelled clips of a data set and score the answers.

    model: run folder, fold, model folder or hub name. mapping: label -> the label it counts as, before what the registry says. views: in
    which the clips are heard, besides as they are.
    Raises UserError where labels can't be matched or no clip can be used.
    """
    table = dataset.train
    found = predict_clips(model, table, data, batch_size, precision, views=views)
    store, scored = found.store, table.scored[found.store.usable]
    matched = match_labels(found.label_names, dataset.label_names, mapping or {})
    rows = np.flatnonzero(store.usable & table.scored)
    if not len(rows):
        raise UserError(f"{dataset.root}: not one of {count(table.ids, 'clip')} can be used; `python -m ser.check_data` says why.")
    labels = np.array([matched.names.index(matched.of_data[name]) for name in dataset.label_names])[table.labels[rows]]
    unclear = int((store.usable & ~table.scored).sum())
    probabilities, as_they_are = (part[scored] @ matched.matrix for part in (found.probabilities, found.as_they_are))
    paths = list(map(str, table.paths)) or [""] * len(table)
    taken = {} if store.clips is None else {"path": paths}
    taken |= {"text": store.texts} if store.reads else {}
    speakers = None if table.speakers is None else [table.speakers[row] for row in rows]
    classes = per_class(labels, probabilities, matched.names)
    result = scores(labels, probabilities, speakers)
    result["ece"] = expected_calibration_error(labels, probabilities)
    seen = seen_in_training(model, store.report.iloc[rows])
    return Evaluation(
        model=str(model),
        data=str(dataset.root),
        label_names=matched.names,
        ids=tuple(table.ids[row] for row in rows),
        clips={column: tuple(values[row] for row in rows) for column, values in taken.items()},
        labels=labels,
        probabilities=probabilities,
        result=result,
        classes=classes,
        reliability=reliability(labels, probabilities),
        temperature=read_temperature(model),
        mapping=matched.changes,
        unusable=tuple(
            {"id": table.ids[row], "status": store.report["status"][row], "path": paths[row]} for row in np.flatnonzero(~store.usable)
        ),
        seen=seen,
        views=gain_of_views(views, labels, probabilities, as_they_are, speakers) if views else None,
        warnings=(
            *told_of_run(model),
            *_warnings(seen, labels, probabilities, speakers, classes, matched),
            *[f"{unclear} clips have votes without a majority: not scored."] * bool(unclear),
        ),
    )


@dataclass(frozen=True)
class Matched:
    """names: the common labels. of_data: data label -> common label. matrix: (model labels, common labels) of 0 and 1."""

    names: tuple[str, ...]
    of_data: dict[str, str]
    of_model: dict[str, str]
    matrix: np.ndarray

    @property
    def changes(self) -> dict[str, str]:
        """Labels that count as another one."""
        return {old: new for old, new in (self.of_data | self.of_model).items() if old != new}


def match_labels(model_names: Sequence[str], data_names: Sequence[str], given: Mapping[str, str]) -> Matched:
    """Bring the labels of a model and of a data set onto common ones, by name.

    A label of the data that the model lacks counts as the model's nearest coarser one (`data.labels.NEAREST`: calm → neutral); `given` goes
    before. An answer that no clip can have stays a wrong answer. Raises UserError for a label of the data without a counterpart, and for
    labels in `given` that nobody has.
    """
    given = {_key(old): _key(new) for old, new in given.items()}
    known = {*model_names, *data_names}
    if strange := [name for name in (*given, *given.values()) if name not in known]:
        raise UserError(f"mapping: {shown(strange)}; the model has {', '.join(model_names)}, the data {', '.join(data_names)}.")
    answers = [given.get(name, name) for name in model_names]
    of_data = {}
    for name in data_names:
        of_data[name] = given.get(name) or (name if name in answers else map_label(name, answers))
    if missing := [name for name, target in of_data.items() if target is None]:
        raise UserError(
            f"the model has no label for {', '.join(missing)} of the data: it knows {', '.join(model_names)}. "
            f"Say what they count as, e.g. --mapping {missing[0]}={model_names[0]}, or take these clips out."
        )
    of_model = {name: given.get(name, name) for name in model_names}
    names = list(dict.fromkeys([*of_data.values(), *of_model.values()]))
    matrix = np.zeros((len(model_names), len(names)))
    for row, name in enumerate(model_names):
        matrix[row, names.index(of_model[name])] = 1.0
    return Matched(tuple(names), of_data, of_model, matrix)


def seen_in_training(model: str | Path, report: pd.DataFrame) -> np.ndarray:
    """(n,) bool: which clips of a store's report the model was trained on, as far as the model's run is there to ask."""
    model = any_seed(model)  # all seeds have trained on the same clips
    run = run_folder_of(model)
    if run is None:
        return np.zeros(len(report), bool)
    clips = read_json(run / "data.json")["train"]
    folds = read_csv_input(run / "folds.csv")
    fold_of = dict(zip(folds.required("id"), folds.required("fold"), strict=True))
    relative = Path(model).absolute().relative_to(run.absolute()).parts
    own = relative[0].removeprefix("fold_") if relative else None  # a whole run has trained on every clip in some fold
    if own is None and str(ALWAYS_TRAINED) in fold_of.values():
        own = "0"  # its one model
    trained = [clip for clip in clips if own is None or fold_of.get(clip["id"]) != own]
    places = places_in_run([clip.get("file_hash", "") for clip in trained], [clip["audio_hash"] for clip in trained], report)
    return np.array([place is not None for place in places], bool)


def _warnings(
    seen: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    speakers: list[str | None] | None,
    classes: pd.DataFrame,
    matched: Matched,
) -> list[str]:
    found = []
    if seen.any():
        new = np.flatnonzero(~seen)
        of_new = None if speakers is None else [speakers[row] for row in new]
        found.append(
            f"{int(seen.sum())} of {len(seen)} clips were in this model's training data: their scores say nothing about new clips. "
            + (
                f"The others alone: {describe(scores(labels[new], probabilities[new], of_new))}."
                if len(new)
                else "For clips of the run itself, its out-of-fold report is the honest number."
            )
        )
    if absent := classes.loc[classes["n"] == 0, "label"].tolist():
        present = classes.loc[classes["n"] > 0, "label"].tolist()
        nearest = [f"{name}={target}" for name in absent if (target := map_label(name, present))]
        hint = f" Another count: --mapping {','.join(nearest)}." if nearest else ""
        found.append(
            f"no clip of the data has {shown(absent, 15)}: such an answer is wrong. Macro-F1 is over the labels that "
            f"occur as truth or answer, UAR over those that occur as truth.{hint}"
        )
    if matched.changes:
        changes = ", ".join(f"{old} as {new}" for old, new in matched.changes.items())
        found.append(f"labels of model and data differ; these were counted as another one: {changes}.")
    return found


def _key(name: str) -> str:
    return canonical(name) if is_emotion(name) else name
