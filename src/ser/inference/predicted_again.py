"""A trained run's own clips predicted once more, in views: each training clip by the fold that hasn't trained on it, and the test clips."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import Accelerator

from ser.config import DataConfig, load_config
from ser.data.inputs import Store, open_store
from ser.data.tables import read_dataset
from ser.data.views import View, needed_seconds
from ser.inference.opening import as_in_training
from ser.inference.prediction import predict_views
from ser.inference.runs import Run, read_probabilities, read_run
from ser.inference.views import ViewsGain, gain_of_views
from ser.models.registry import Model, load_model
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_csv, write_json
from ser.scoring.metrics import scores

RECORD = "views.json"
COPIED = ("history.csv", "history.png", "timing.csv")


def predict_run_again(
    run_folder: str | Path,
    output: Path,
    views: Sequence[View],
    data: DataConfig | None = None,
    batch_size: int = 16,
    precision: str = "auto",
) -> ViewsGain:
    """Write `output` as a run folder without models; finished folds stay. Returns what the views brought.

    data: where the clips are now; by default where they were in training. Raises UserError where the run isn't whole or its clips changed.
    """
    run = read_run(run_folder)
    _begin(run, output, views)
    accelerator, stores = make_accelerator(precision), None
    for fold in run.folds:
        if (output / f"fold_{fold}" / "metrics.json").is_file():
            continue
        network = load_model(run.folder / f"fold_{fold}" / "model").to(accelerator.device)
        stores = stores or _stores(run, network, views, data)
        _predict_fold(run, fold, output, network, stores, views, batch_size, accelerator)
    again = read_run(output)
    return gain_of_views(views, run.labels, again.oof, run.oof, run.speakers)


def _begin(run: Run, output: Path, views: Sequence[View]) -> None:
    """What the folder is of, and the files of the run that hold for it, too."""
    models = {str(fold): _digest(run.folder / f"fold_{fold}" / "metrics.json") for fold in run.folds}
    record = {"fingerprint": run.fingerprint, "views": sorted(map(str, views)), "models": models}
    if (output / RECORD).is_file() and read_json(output / RECORD) != record:
        raise UserError(f"{output} is of another run, of this one before it was trained anew, or of other views. Give another --output.")
    if not (output / RECORD).is_file() and output.exists() and any(output.iterdir()):
        raise UserError(f"--output: {output} holds something else; allowed is a new folder, e.g. {run.folder}_views.")
    write_json(output / RECORD, record)
    for name in ("data.json", "folds.csv", "config.yaml"):
        shutil.copyfile(run.folder / name, output / name)


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def _stores(run: Run, network: Model, views: Sequence[View], data: DataConfig | None) -> tuple[Store, Store | None]:
    """The run's training clips that it used, those without a majority at the end, and its test clips, in its order.

    Raises UserError where files aren't what they were.
    """
    data = as_in_training(network, data or load_config(run.folder / "config.yaml").data)
    dataset = read_dataset(data)
    heard = replace(data, max_seconds=needed_seconds(views, data.max_seconds))
    found = []
    trained = (*run.ids, *run.unclear)
    for table, ids, hashes in ((dataset.train, trained, run.file_hashes), (dataset.test, run.test_ids, run.test_file_hashes)):
        if not ids:
            found.append(None)
            continue
        rows = [-1] * len(ids) if table is None else pd.Index(table.ids).get_indexer(pd.Index(ids))
        gone = [name for name, row in zip(ids, rows, strict=True) if row < 0]
        store = None if gone else open_store(network.takes, table.take(np.asarray(rows)), heard)
        if gone or any(known and known != now for known, now in zip(hashes, store.report["file_hash"], strict=False)):
            raise UserError(f"{data.root} doesn't hold the clips that {run.folder} was made from. Name their place with --data.root.")
        found.append(store)
    return found[0], found[1]


def _predict_fold(
    run: Run,
    fold: int,
    output: Path,
    network: Model,
    stores: tuple[Store, Store | None],
    views: Sequence[View],
    batch_size: int,
    accelerator: Accelerator,
) -> None:
    """valid.csv, test.csv and metrics.json of a fold, in this order."""
    before, after = run.folder / f"fold_{fold}", output / f"fold_{fold}"
    train, test = stores
    ids, fold_of = (*run.ids, *run.unclear), np.concatenate([run.fold_of, run.unclear_fold_of])
    rows = np.flatnonzero(fold_of == fold)
    valid = predict_views(network, train, rows, views, batch_size, accelerator, title=f"fold {fold}, validation")[0]
    _write(after / "valid.csv", [ids[row] for row in rows], valid, run.label_names)
    judging = rows < len(run.ids)
    rows, valid = rows[judging], valid[judging]
    if test is not None:
        probabilities = read_probabilities(before / "test.csv", run.test_ids, run.label_names)  # unusable clips keep the prior
        usable = np.flatnonzero(test.usable)
        probabilities[usable] = predict_views(network, test, usable, views, batch_size, accelerator, title=f"fold {fold}, test")[0]
        _write(after / "test.csv", run.test_ids, probabilities, run.label_names)
    for name in COPIED:
        if (before / name).is_file():
            shutil.copyfile(before / name, after / name)
    speakers = None if run.speakers is None else [run.speakers[row] for row in rows]
    metrics = read_json(before / "metrics.json")
    told = f"Predicted as the mean over {len(views) + 1} views of each clip: as it is, {', '.join(map(str, views))}."
    caveats = [*metrics.get("caveats", []), told]
    write_json(after / "metrics.json", metrics | {"scores": scores(run.labels[rows], valid, speakers), "caveats": caveats})


def _write(path: Path, ids: Sequence[str], probabilities: np.ndarray, label_names: Sequence[str]) -> None:
    columns = {f"p_{name}": probabilities[:, number] for number, name in enumerate(label_names)}
    write_csv(path, pd.DataFrame({"id": list(ids), **columns}))
