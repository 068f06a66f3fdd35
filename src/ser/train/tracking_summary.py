"""What W&B gets besides numbers: tables to look at, and files with their lineage, data → folds → run → submission.

Read from the local files by the process that owns W&B, so that none of it costs the training anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ser.runtime.files import read_json

MISTAKES = 12
PLAYABLE = {".wav", ".mp3", ".flac", ".ogg", ".m4a"}
"""In a browser."""
FOLD_FILES = ("history.csv", "valid.csv", "test.csv", "metrics.json", "history.png", "confusion.png")
RUN_FILES = ("config.yaml", "data.json", "folds.csv", "oof.csv", "report.json", "report.md")


def add_files(run: Any, opening: dict[str, Any]) -> None:
    """The tables and files of a finished fold, run or submission; opening: as `tracking` wrote it. run: W&B's."""
    folder, group = Path(opening["run_folder"]), opening["group"]
    if opening["job_type"] == "fold":
        _use(run, _artifact(f"data-{_fingerprint(folder)[:12]}", "data", folder, ["data.json", "folds.csv"]))
        names = [*FOLD_FILES, *(["model"] if opening["models"] else [])]
        run.log_artifact(_artifact(f"{group}-{opening['name']}", "fold", folder / opening["name"], names))
    elif opening["job_type"] == "summary":
        run.log(tables_of(folder))
        for fold in sorted(folder.glob("fold_*/metrics.json")):
            _use(run, f"{artifact_name(f'{group}-{fold.parent.name}')}:latest")
        run.log_artifact(_artifact(f"{group}-oof", "oof", folder, RUN_FILES))
    else:
        place = Path(opening["submission"])
        for other in opening["runs"]:
            _use(run, f"{artifact_name(f'{group_of(Path(other))}-oof')}:latest")
        run.log_artifact(_artifact(place.stem, "submission", place.parent, [place.name, f"{place.stem}.json"]))


def group_of(folder: Path) -> str:
    """What a run is called in W&B: its folder's name; of one seed of several, their folder's before it."""
    own = folder.resolve()
    return f"{own.parent.name}-{own.name}" if re.fullmatch(r"seed_\d+", own.name) else own.name


def tables_of(folder: Path) -> dict[str, Any]:
    """Confusion matrix, scores per class, every out-of-fold prediction, and the surest mistakes to listen to."""
    import wandb

    from ser.inference.runs import read_run

    run = read_run(folder, multi_label=True)
    if run.labels.ndim == 2:
        classes = read_json(folder / "report.json")["classes"]
        return {"per label": wandb.Table(list(classes[0]), [list(row.values()) for row in classes])}
    predicted = run.oof.argmax(1)
    matrix = wandb.plot.confusion_matrix(y_true=run.labels.tolist(), preds=predicted.tolist(), class_names=list(run.label_names))
    rows = list(_predictions(run, predicted))
    columns = ["id", "fold", "speaker", "label", "predicted", "p_label", "p_predicted"]
    wrong = [row for row in rows if row[3] != row[4]]
    worst = sorted(wrong, key=lambda row: row[5] - row[6])[:MISTAKES]
    sounds = _sounds(folder)
    return {
        "confusion matrix": matrix,
        "per class": wandb.Table(["label", "precision", "recall", "F1", "clips"], _per_class(run, predicted)),
        "out of fold": wandb.Table(columns, rows),
        "worst mistakes": wandb.Table([*columns, "sound"], [[*row, _player(sounds.get(row[0]))] for row in worst]),
    }


def _per_class(run: Any, predicted: np.ndarray) -> list[list]:
    from sklearn.metrics import precision_recall_fscore_support

    every = range(len(run.label_names))
    columns = precision_recall_fscore_support(run.labels, predicted, labels=every, zero_division=0)
    return [[name, *map(float, scores), int(clips)] for name, *scores, clips in zip(run.label_names, *columns, strict=True)]


def _predictions(run: Any, predicted: np.ndarray) -> Iterator[list]:
    for row, (label, answer) in enumerate(zip(run.labels, predicted, strict=True)):
        speaker = None if run.speakers is None else run.speakers[row]
        chances = [float(run.oof[row, label]), float(run.oof[row, answer])]
        yield [run.ids[row], int(run.fold_of[row]), speaker, run.label_names[label], run.label_names[answer], *chances]


def _sounds(folder: Path) -> dict[str, Path]:
    """The training clips' files by id, as the run's config finds them."""
    from ser.config import load_config
    from ser.data.tables import read_dataset

    table = read_dataset(load_config(folder / "config.yaml").data).train
    return dict(zip(table.ids, table.paths or (), strict=False))


def _player(path: Path | None) -> Any:
    import wandb

    playable = path is not None and Path(path).suffix.lower() in PLAYABLE and Path(path).is_file()
    return wandb.Audio(str(path)) if playable else None


def artifact_name(name: str) -> str:
    """The name with W&B's letters alone; where others were in it, with a hash that keeps two such names apart."""
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:100]
    return allowed if allowed == name else f"{allowed}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def _artifact(name: str, kind: str, folder: Path, names: tuple[str, ...] | list[str]) -> Any:
    import wandb

    artifact = wandb.Artifact(artifact_name(name), kind, metadata={"data_fingerprint": _fingerprint(folder)})
    for path in (folder / name for name in names):
        if path.is_dir():
            artifact.add_dir(str(path), path.name)
        elif path.is_file():
            artifact.add_file(str(path), path.name)
    return artifact


def _fingerprint(folder: Path) -> str:
    """Of the data that a fold's, a run's or a submission's folder was made from; empty where it isn't said."""
    for place in (folder / "data.json", folder.parent / "data.json"):
        if place.is_file():
            return read_json(place)["fingerprint"]
    return ""


def _use(run: Any, artifact: Any) -> None:
    """Draw the line of lineage. An offline run can't; there the metadata's fingerprint and the group say what belongs together."""
    if not run.offline:
        run.use_artifact(artifact)
