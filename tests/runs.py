"""Small run folders as `python -m ser.train` leaves them, with made-up predictions and without any audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import Config, DataConfig, save_config
from ser.files import read_json, write_csv, write_json
from ser.metrics import quick_scores, scores

LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")


def make_run(
    folder: Path,
    seed: int = 0,
    skill: float = 2.0,
    clips: int = 60,
    test_clips: int = 20,
    folds: int = 3,
    label_names: tuple[str, ...] = LABELS,
    speakers: int = 0,
    fold_seed: int = 0,
    data_root: Path | None = None,
    data: dict | None = None,
) -> Path:
    """Write a whole run. Runs of different `seed` have the same clips and labels but other predictions.

    skill: how far the right label's logit stands out. speakers: how many (0: unknown). data_root: where a matching
    sample_submission.csv is written. data: overrides for data.json.
    """
    rng = np.random.default_rng(1234)
    labels = rng.permutation(np.arange(clips) % len(label_names))
    truth = rng.integers(0, len(label_names), test_clips)
    train_ids = [f"TRAIN_{i:04d}" for i in range(clips)]
    test_ids = [f"TEST_{i:04d}" for i in range(test_clips)]
    fold_of = np.random.default_rng(fold_seed).permutation(np.arange(clips) % folds)
    names = [f"speaker {i % speakers}" for i in range(clips)] if speakers else None
    split = f"{folds}-fold, stratified by label"
    train = [{"id": name, "audio_hash": f"a{i}", "label": int(labels[i])} for i, name in enumerate(train_ids)]
    if names:
        train = [clip | {"speaker": speaker} for clip, speaker in zip(train, names, strict=True)]
    content = {
        "fingerprint": f"{clips}-{test_clips}-{'-'.join(label_names)}",
        "label_names": list(label_names),
        "train": train,
        "test": [{"id": name, "audio_hash": f"b{i}"} for i, name in enumerate(test_ids)],
        "split": split,
        "speakers_known": bool(speakers),
    }
    write_json(folder / "data.json", content | (data or {}))
    write_csv(folder / "folds.csv", pd.DataFrame({"id": train_ids, "fold": fold_of}))
    data_root = data_root or folder.parent / "input"
    save_config(Config(data=DataConfig(root=str(data_root))), folder / "config.yaml")
    if test_clips:
        write_csv(data_root / "sample_submission.csv", pd.DataFrame({"id": test_ids, "label": 0}))

    rng = np.random.default_rng([seed, 7])
    for fold in range(folds):
        rows = np.flatnonzero(fold_of == fold)
        valid = predictions(labels[rows], len(label_names), skill, rng)
        write_fold(folder, fold, [train_ids[row] for row in rows], labels[rows], valid, label_names, split)
        if test_clips:
            test = predictions(truth, len(label_names), skill, rng)
            write_csv(folder / f"fold_{fold}" / "test.csv", probability_table(test_ids, test, label_names))
    return folder


def write_fold(folder: Path, fold: int, ids: list[str], labels: np.ndarray, valid: np.ndarray, label_names, split: str) -> None:
    """valid.csv, a history of three epochs that learns, and metrics.json."""
    part = folder / f"fold_{fold}"
    write_csv(part / "valid.csv", probability_table(ids, valid, label_names))
    quick = quick_scores(labels, valid)
    share = np.array([0.3, 0.7, 1.0])
    write_csv(
        part / "history.csv",
        pd.DataFrame(
            {
                "epoch": [1, 2, 3],
                "train_loss": 1.8 - 1.2 * share,
                "train_accuracy": 0.2 + 0.7 * share,
                "valid_loss": 1.8 - (1.8 - quick["log_loss"]) * share,
                "valid_accuracy": quick["accuracy"] * share,
                "valid_macro_f1": quick["macro_f1"] * share,
                "valid_uar": quick["uar"] * share,
                "encoder_lr": 2e-5,
                "head_lr": 5e-4,
            }
        ),
    )
    write_json(
        part / "metrics.json",
        {
            "fold": fold,
            "epoch": 3,
            "scores": scores(labels, valid),
            "split": split,
            "label_names": list(label_names),
            "train_clips": 40,
            "valid_clips": len(ids),
        },
    )


def predictions(labels: np.ndarray, classes: int, skill: float, rng: np.random.Generator) -> np.ndarray:
    """(N, classes) probabilities that lean towards the labels."""
    logits = rng.normal(size=(len(labels), classes)) + skill * np.eye(classes)[labels]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def probability_table(ids: list[str], probabilities: np.ndarray, label_names: tuple[str, ...]) -> pd.DataFrame:
    """`id` and one `p_<label>` column per label."""
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in label_names])
    table.insert(0, "id", ids)
    return table


def edit_json(path: Path, **changes: object) -> None:
    """Overwrite keys of a JSON file."""
    write_json(path, read_json(path) | changes)


def edit_csv(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Replace a CSV by what `change` makes of it."""
    table = pd.read_csv(path, dtype={"id": str})
    write_csv(path, change(table))


def damage_column(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A change for `edit_csv` that overwrites one cell."""

    def change(table):
        table = table.astype({column: object})
        table.loc[row, column] = value
        return table

    return change
