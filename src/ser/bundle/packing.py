"""Filling the folder of a bundle: the models of each member, what the blend was fitted to, the code, and bundle.json, which names all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import ser
from ser.bundle.predicting import CONTENT, OOF
from ser.config import Config, as_plain, load_config
from ser.data.sample_submission import read_sample
from ser.ensemble.blend import fitted_blend
from ser.ensemble.members import Members
from ser.ensemble.methods import LEARNED, METHODS
from ser.inference.runs import Run
from ser.models.registry import model_class
from ser.runtime.environment import git_commit
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_json
from ser.runtime.progress import ProgressBar
from ser.scoring.metrics import scores
from ser.train.frozen import is_fitted_at_once

DATA_KEYS = ("max_seconds", "min_seconds", "noise_reduction", "allow_absolute_paths")
"""Keys of section data by which clips are prepared; the others say where they are."""


def pack(folder: Path, members: Members, method: str, sample: Path) -> dict:
    """Write models, code and bundle.json into the folder; returns what bundle.json holds. sample: the sample submission of the blend."""
    fitted = fitted_blend(method, members)
    label_names = list(members.runs[0].label_names)
    content = {
        "label_names": label_names,
        "written_labels": read_sample(sample, members.test_ids, label_names, "the test clips of the runs").names,
        "method": method,
        "weights": fitted.weights,
        "oof": scores(members.labels, METHODS[method](members.oof, members.labels).predict(members.oof), members.speakers),
        "data_fingerprint": members.runs[0].fingerprint,
        "git_commit": git_commit(),
        "members": [],
        "models": {},
        "files": {},
    }
    for number, member in enumerate(ProgressBar(_members_of(members), "copying models", unit="member")):
        content["members"].append(_add_member(folder, content, number, member))
    if method in LEARNED:
        save_file({"oof": members.oof, "labels": members.labels}, folder / OOF)
        content["files"][OOF] = (folder / OOF).stat().st_size
    copy_code(folder / "src" / "ser")
    write_json(folder / CONTENT, content)
    return content


def config_of(run: Run) -> Config:
    """The config of a run. Raises UserError where it is of an older version."""
    return load_config(run.folder / "config.yaml")


def copy_code(place: Path) -> None:
    """This package as it is, with the experiments it ships where it is installed."""
    shutil.copytree(Path(ser.__file__).parent, place, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class _Member:
    """folder: as it was named. run: what its models were made from. seeds: the folders of its models (fold_0 …), a list for each seed."""

    folder: Path
    run: Run
    seeds: list[list[Path]]


def _members_of(members: Members) -> list[_Member]:
    """The members in the order of their test predictions: runs, of one seed or several, then models of all clips."""
    found = []
    for run, seeds in zip(members.runs, members.seeds, strict=True):
        found.append(_Member(run.folder, run, [[one.folder / f"fold_{fold}" for fold in one.folds] for one in seeds or (run,)]))
    return [*found, *(_Member(full.folder, full.run, [[full.folder]]) for full in members.full_fits)]


def _add_member(folder: Path, content: dict, number: int, member: _Member) -> dict:
    run, config, runs = member.run, config_of(member.run), {}
    for places in member.seeds:
        models = []
        for place in places:
            key = f"{number}_{place.resolve().relative_to(run.folder.resolve().parent)}"
            content["models"][key] = dict(_pool(folder, content["files"], place / "model"))
            metrics = read_json(place / "metrics.json")
            size = metrics.get("eval_batch_size", config.train.eval_batch_size)
            models.append({"files": key, "batch_size": size, "trained_in": metrics.get("precision")})
        runs[models[0]["files"].rpartition("/")[0]] = models
    return {
        "run": str(member.folder),
        "takes": model_class(config.model.kind).takes,
        "data": {key: value for key, value in as_plain(config.data).items() if key in DATA_KEYS},
        "precision": config.train.precision,
        "frozen_encoder": config.model.kind == "encoder" and is_fitted_at_once(config),
        "prior": np.bincount(run.labels, minlength=len(run.label_names)) / len(run.labels),
        "runs": runs,
    }


def _pool(folder: Path, files: dict[str, int], model: Path) -> Iterator[tuple[str, str]]:
    """(name in the model's folder, place in the bundle) of each of its files; what is there already isn't copied again."""
    if not model.is_dir():
        raise UserError(f"{model}: no such folder. Its models were removed, or it holds predictions only. Name a trained run.")
    for path in sorted(file for file in model.rglob("*") if file.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        place = f"files/{digest[:16]}-{path.name}"
        if place not in files:
            (folder / "files").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / place)
            files[place] = path.stat().st_size
        yield str(path.relative_to(model)), place
