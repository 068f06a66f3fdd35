"""What is exported, and what its run says about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from ser.config import Config, as_plain
from ser.inference.opening import model_folders
from ser.runtime.errors import UserError
from ser.runtime.files import read_json

TOLD_SECTIONS = ("cv", "model", "train", "augment")
UNTOLD_KEYS = {"cv.file", "train.workers", "train.threads", "model.name", "model.text_encoder.name", "model.fusion.text_encoder"}
"""Of this machine, or told elsewhere."""


@dataclass(frozen=True)
class Source:
    """A model folder and, where it belongs to a fold of a run, what was recorded there ({} or None where it doesn't)."""

    model: Path
    run: str
    fold: int | None
    folds: int
    metrics: dict
    data: dict
    report: dict
    settings: dict
    base: str | None
    """Hub name of the checkpoint it was trained from, where that was one."""


def read_source(path: str | Path) -> Source:
    """The model to export: of a run its first finished fold, of a fold its own, or a model folder; with the records beside it.

    Raises UserError where there is no model.
    """
    folders = model_folders(path)
    model = folders[0]
    if model.suffix == ".onnx":
        raise UserError(f"{model} is an ONNX file already; name the run, fold or model folder that it was made of.")
    fold = model.resolve().parent
    metrics = _json(fold / "metrics.json") if model.name == "model" else {}
    run = fold.parent if metrics else model.resolve()
    config = _config(run) if metrics else {}
    return Source(
        model=model,
        run=run.name,
        fold=metrics.get("fold"),
        folds=len(list(run.glob("fold_*/metrics.json"))) if metrics else 0,
        metrics=metrics,
        data=_json(run / "data.json") if metrics else {},
        report=_json(run / "report.json") if metrics else {},
        settings=_differences(config),
        base=_hub_name(config),
    )


def _json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path} can't be read: {error}") from None


def _config(run: Path) -> dict:
    path = run / "config.yaml"
    if not path.is_file():
        return {}
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from None


def _differences(config: dict) -> dict:
    """The keys `section.key` whose value isn't the default; folders and file names of this machine aren't among them."""
    defaults = as_plain(Config())
    return {
        name: value
        for section in TOLD_SECTIONS
        for name, value in _differing(section, config.get(section) or {}, defaults[section]).items()
        if name not in UNTOLD_KEYS
    }


def _differing(prefix: str, values: dict, defaults: dict) -> dict:
    """`prefix.key` of each value that isn't the default, of sections within as well."""
    found = {}
    for key, value in values.items():
        name, default = f"{prefix}.{key}", defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            found |= _differing(name, value, default)
        elif value != default:
            found[name] = value
    return found


def _hub_name(config: dict) -> str | None:
    model = config.get("model") or {}
    kind = model.get("kind", "encoder")
    own = model if kind == "encoder" else model.get(kind) or {}
    name = str(own.get("text_encoder" if kind == "fusion" else "name", ""))
    if own.get("from_scratch") is not None or own.get("text") == "ngrams":
        return None
    # A folder's name is nobody's business; a hub name is never a folder here.
    return name if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists() else None
