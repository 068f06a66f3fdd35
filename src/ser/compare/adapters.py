"""Each kind of candidate behind one form: its classes, and probabilities for labelled clips that it hasn't learnt from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from ser.compare.candidates import Candidate
from ser.compare.labelled import Labelled
from ser.compare.speechbrain import open_speechbrain
from ser.config import ClassicalConfig
from ser.data.csv_input import shown
from ser.data.inputs import Input, Store, open_store
from ser.data.tables import Table
from ser.inference.forward import predict_probabilities
from ser.inference.opening import as_in_training, load_models, on_one_encoder
from ser.inference.run_files import read_data
from ser.inference.runs import read_run
from ser.inference.same_clips import places_in_run
from ser.models.base import read_card
from ser.models.classical.classical import ClassicalModel
from ser.models.classical.classifiers import softmax
from ser.models.classical.speaker_classifier import FeatureMatrices, SpeakerClassifier
from ser.models.encoder.encoder import MODEL_TYPES
from ser.models.hub import checkpoint_folder
from ser.models.registry import load_model, model_class
from ser.runtime.errors import UserError
from ser.runtime.packed_weights import pack_weights
from ser.runtime.seeds import seed_of
from ser.scoring.calibration import run_folder_of

BATCH = 8
SETTINGS = {
    "librosa": ClassicalConfig(features=["librosa"], classifier="svm_rbf"),
    "opensmile": ClassicalConfig(features=["compare"], classifier="svm"),
    "embeddings": ClassicalConfig(classifier="logistic", c=1.0),
}
FITTED = "fitted here, out of fold"


@dataclass(frozen=True)
class Opened:
    """A candidate ready to be measured."""

    classes: tuple[str, ...]
    probabilities: Callable[[], np.ndarray]
    """(N, classes) of all labelled clips, none of which it has learnt from as far as that can be known."""
    predict: Callable[[Store, np.ndarray, int], np.ndarray] | None
    """(n, classes) of rows of a store in batches of a size; None where nothing here turns audio into an answer."""
    how: str


@dataclass(frozen=True)
class Declared:
    """What a checkpoint or a run says of itself before its weights are opened."""

    classes: tuple[str, ...]
    regression: bool
    takes: Input | None
    """None: no audio; what else, isn't known."""
    unlearnt: tuple[str, ...] = ()
    """Labels that it has besides its classes, and that no training clip had; of a run alone this is known."""


def declared(candidate: Candidate, labelled: Labelled) -> Declared | None:
    """What is known without opening weights; None where only opening tells. Raises UserError where it can't be reached."""
    if candidate.kind in SETTINGS:
        return Declared(labelled.label_names, False, "audio")
    if candidate.kind == "run" and (file := Path(candidate.place) / "data.json").is_file():
        data, _, labels = read_data(file)
        learnt = [data["label_names"][label] for label in np.unique(labels)]
        unlearnt = tuple(name for name in data["label_names"] if name not in learnt)
        return Declared(tuple(learnt), False, data.get("input", "audio"), unlearnt)
    if candidate.kind != "transformers":
        return None
    if card := read_card(candidate.place):
        return Declared(tuple(card["label_names"]), False, model_class(card["kind"]).takes)
    folder = checkpoint_folder(candidate.place)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = config.get("id2label") or {}
        classes = tuple(str(names[key]) for key in sorted(names, key=int))
        takes = "audio" if config.get("model_type") in MODEL_TYPES else None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/config.json can't be read: {error}") from None
    return Declared(classes or ("LABEL_0", "LABEL_1"), config.get("problem_type") == "regression", takes)


def open_candidate(candidate: Candidate, labelled: Labelled, accelerator: Accelerator, seed: int) -> Opened:
    """Open it. Raises UserError where it can't be loaded, or is one fold of a run (which has heard most of the run's clips)."""
    if candidate.kind == "transformers" and Path(candidate.place).exists() and (run := run_folder_of(candidate.place)):
        raise UserError(f"{candidate.place} belongs to the run {run.name}, whose folds answer for each other: give run:{run}.")
    if candidate.kind == "run":
        return _open_run(Path(candidate.place), labelled, accelerator)
    if candidate.kind == "embeddings":
        return _open_embeddings(Path(candidate.place), labelled)
    if candidate.kind in SETTINGS:
        return _fit_classical(SETTINGS[candidate.kind], labelled, seed)
    model = open_speechbrain(candidate.place) if candidate.kind == "speechbrain" else load_model(candidate.place)
    if not model.by_epochs:
        raise UserError(f"{candidate.place} is a {model.kind} model of a run; give the run: run:FOLDER.")
    return _of_networks([model.to(accelerator.device)], labelled, accelerator, "as it is")


def _of_networks(networks: list, labelled: Labelled, accelerator: Accelerator, how: str) -> Opened:
    """The mean of networks, or of classical models."""
    if networks[0].takes != "audio":
        raise UserError(f"a {networks[0].kind} model takes {networks[0].takes}; candidates hear, and are given nothing else.")

    for network in networks:
        pack_weights(network, accelerator.mixed_precision)

    def predict(store: Store, rows: np.ndarray, batch: int) -> np.ndarray:
        return sum(predict_probabilities(network, store, rows, batch, accelerator) for network in networks) / len(networks)

    def probabilities() -> np.ndarray:
        return predict(_as_heard(networks[0], labelled), labelled.rows, BATCH)

    return Opened(networks[0].label_names, probabilities, predict, how)


def _as_heard(network, labelled: Labelled) -> Store:
    """The labelled clips as this network heard its own in training."""
    return open_store("audio", labelled.table, as_in_training(network, labelled.config), "labelled clips")


def _open_run(folder: Path, labelled: Labelled, accelerator: Accelerator) -> Opened:
    """A run of this repository: clips it was trained on are answered out of fold, others by the mean of its folds."""
    run = read_run(folder)
    networks = on_one_encoder(network for _, network in load_models(folder, accelerator))
    store = _as_heard(networks[0], labelled)
    places = places_in_run(run.file_hashes, run.audio_hashes, store.report)
    known = np.array([place is not None for place in places])
    new = _of_networks(networks, labelled, accelerator, "as it is")
    if not known.any():
        return new

    def probabilities() -> np.ndarray:
        result = np.zeros((len(places), len(run.label_names)))
        result[known] = run.oof[[place for place in places if place is not None]]
        if not known.all():
            rows = np.flatnonzero(~known)
            result[rows] = new.predict(store, rows, BATCH)
        return result

    heard = "" if known.all() else f", {known.sum()} of {len(known)} clips; the others by the mean of its folds"
    return Opened(run.label_names, probabilities, new.predict, f"its own out-of-fold predictions{heard} ({run.split})")


def _fit_classical(settings: ClassicalConfig, labelled: Labelled, seed: int) -> Opened:
    """A classifier of the repository, fitted to all folds but one and asked about that one."""
    models: dict[int, ClassicalModel] = {}

    def fitted(fold: int) -> ClassicalModel:
        if fold not in models:
            rows = np.flatnonzero(labelled.folds != fold)
            models[fold] = ClassicalModel(settings, labelled.label_names, labelled.config.max_seconds)
            models[fold].fit(labelled.store, rows, labelled.labels[rows], seed_of(seed, "fold", fold))
        return models[fold]

    def probabilities() -> np.ndarray:
        result = np.zeros((len(labelled.labels), len(labelled.label_names)))
        for fold in np.unique(labelled.folds):
            rows = np.flatnonzero(labelled.folds == fold)
            result[rows] = fitted(fold).predict(labelled.store, rows)
        return result

    def predict(store: Store, rows: np.ndarray, batch: int) -> np.ndarray:
        parts = [fitted(0).predict(store, rows[start : start + batch]) for start in range(0, len(rows), batch)]
        return np.concatenate(parts)

    return Opened(labelled.label_names, probabilities, predict, FITTED)


def _open_embeddings(path: Path, labelled: Labelled) -> Opened:
    """Vectors that another program computed (YAMNet, say), and logistic regression on them.

    The .npz holds `ids` (text, as in the table, or file names) and `embeddings` (n, D).
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names, vectors = [str(name) for name in file["ids"]], np.asarray(file["embeddings"], np.float32)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"embeddings:{path} can't be read: {error}. It must be an .npz with `ids` and `embeddings` (n, D).") from None
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        raise UserError(f"embeddings:{path}: {len(names)} ids and embeddings {vectors.shape}; a finite row per id is needed.")
    vectors = vectors[_rows_by_name(f"embeddings:{path}", names, labelled.table)]

    def probabilities() -> np.ndarray:
        count = len(labelled.label_names)
        result = np.zeros((len(vectors), count))
        for fold in np.unique(labelled.folds):
            train, asked = np.flatnonzero(labelled.folds != fold), np.flatnonzero(labelled.folds == fold)
            chain, _ = SpeakerClassifier.fit(SETTINGS["embeddings"], FeatureMatrices([vectors[train]]), labelled.labels[train], count, None)
            clips = FeatureMatrices([vectors[asked]])
            result[asked] = softmax(chain.scores(clips, chain.voices(clips, None)), 1.0)
        return result

    return Opened(labelled.label_names, probabilities, None, f"{FITTED}; embeddings computed elsewhere")


def _rows_by_name(source: str, names: list[str], table: Table) -> list[int]:
    """Which of the named rows belongs to each clip of the table: by id, by file name or by its stem, one of them for all.

    Raises UserError where a clip lacks a row, or where a name stands for several (angry/001 and happy/001 are two clips).
    """
    place = {name: row for row, name in enumerate(names)}
    if len(place) < len(names):
        raise UserError(f"{source}: {shown([name for name, times in Counter(names).items() if times > 1])} more than once in its ids.")
    by_name = {
        "id": list(table.ids),
        "file name": [file.name for file in table.paths],
        "file name without ending": [file.stem for file in table.paths],
    }
    how, wanted = max(by_name.items(), key=lambda pair: sum(name in place for name in pair[1]))
    if lacking := [clip for clip, name in zip(table.ids, wanted, strict=True) if name not in place]:
        raise UserError(f"{source} lacks {len(lacking)} of {len(table)} labelled clips, first {lacking[0]}.")
    if twice := [name for name, times in Counter(wanted).items() if times > 1]:
        raise UserError(
            f"{source}: by {how}, {shown(twice)} would be several clips at once. Give its rows the ids of the clips: {shown(table.ids)}."
        )
    return [place[name] for name in wanted]
