"""Reading back a run folder, its folds averaged for the test clips, and refusing one that doesn't hold together.

A run is what `python -m ser.train` leaves in outputs/X. Rows are matched by clip id, never by position or by the order
in which a folder lists its files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser.data.csv_input import shown
from ser.inference.answers import several_labels
from ser.inference.run_files import finished_folds, read_csv, read_data, read_fold_numbers, read_metrics, read_record, unique
from ser.runtime.errors import UserError
from ser.scoring.calibration import run_folder_of

FULL_FIT = "full_fit"
"""The folder of the model that was trained on all clips of a run."""
SUM_TOLERANCE = 1e-4  # softmax in float32, written with 9 digits, stays within 1e-6


@dataclass(frozen=True)
class Run:
    """A checked run: N training clips that were used, M test clips, C labels; rows in the order of data.json.

    Where annotators voted, the N clips are those with a majority to be judged by; `unclear` has the others, which were trained on, too.
    """

    folder: Path
    fingerprint: str
    split: str
    label_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray  # (N,) int64; (N, C) of 0 and 1 where a clip may have several
    speakers: tuple[str, ...] | None
    fold_of: np.ndarray  # (N,) int64; ALWAYS_TRAINED of clips that the one model of a run was trained on
    folds: tuple[int, ...]  # finished ones
    missing_folds: tuple[int, ...]
    metrics: dict[int, dict]  # metrics.json of each finished fold
    oof: np.ndarray  # (N, C), NaN in the rows of missing folds and of ALWAYS_TRAINED
    input: str  # what the model takes of a clip: audio, text, audio and text
    file_hashes: tuple[str, ...]  # (N,), of the files' bytes (of the texts); "" in runs made before they were kept
    audio_hashes: tuple[str, ...]  # (N,), of the decoded samples (of the texts, of both)
    test_ids: tuple[str, ...]
    test_file_hashes: tuple[str, ...]  # (M,), "" also where there is no file
    test_audio_hashes: tuple[str, ...]  # (M,)
    test: np.ndarray  # (M, C), mean over the finished folds
    dropped: tuple[dict, ...]  # training clips that couldn't be used: {"id", "status"}
    test_prior: tuple[dict, ...]  # test clips that couldn't be used and got the prior: {"id", "status"}
    cut: dict[str, int]  # how many training and test clips are longer than data.max_seconds
    without_transcript: tuple[str, ...]  # training clips of a model of audio and text whose audio alone decided
    text_leak: str | None  # a warning, where the texts give the emotion away
    unclear: tuple[str, ...]  # ids of the clips without a majority
    unclear_fold_of: np.ndarray  # their folds
    votes: tuple[np.ndarray, np.ndarray] | None  # (V, C) shares of votes and out-of-fold predictions, of all clips predicted

    @property
    def predicted(self) -> np.ndarray:
        """(N,) bool: which clips have an out-of-fold prediction."""
        return ~np.isnan(self.oof[:, 0])


def read_run(folder: str | Path, allow_missing_folds: bool = False, multi_label: bool = False) -> Run:
    """Read and check a run folder.

    multi_label: whether a run of several labels a clip will do. Raises UserError when it won't, a file is missing or damaged, ids don't
    match, probabilities aren't probabilities, or folds are unfinished (unless allowed; at least one must be finished).
    """
    folder = Path(folder)
    _check_is_run(folder)
    data, train, labels = read_data(folder / "data.json")
    several = labels.ndim == 2
    if several and not multi_label:
        raise several_labels(folder)
    label_names = tuple(data["label_names"])
    ids = unique([clip["id"] for clip in train], folder / "data.json")
    test_ids = unique([clip["id"] for clip in data["test"]], folder / "data.json")
    fold_of = read_fold_numbers(folder / "folds.csv", ids)
    finished, missing = finished_folds(folder, sorted(set(fold_of.tolist())), allow_missing_folds)

    metrics = {}
    oof = np.full((len(ids), len(label_names)), np.nan)
    test_sum = np.zeros((len(test_ids), len(label_names)))
    for fold in finished:
        part = folder / f"fold_{fold}"
        metrics[fold] = read_metrics(part / "metrics.json", fold, label_names)
        rows = np.flatnonzero(fold_of == fold)
        oof[rows] = read_probabilities(part / "valid.csv", [ids[row] for row in rows], label_names, several)
        if test_ids:
            test_sum += read_probabilities(part / "test.csv", test_ids, label_names, several)

    speakers = tuple(clip.get("speaker") for clip in train)
    run = Run(
        folder=folder,
        fingerprint=data["fingerprint"],
        split=data["split"],
        label_names=label_names,
        ids=ids,
        labels=labels,
        speakers=speakers if all(name is not None for name in speakers) else None,
        fold_of=fold_of,
        folds=finished,
        missing_folds=missing,
        metrics=metrics,
        oof=oof,
        input=data.get("input", "audio"),
        file_hashes=tuple(clip.get("file_hash", "") for clip in train),
        audio_hashes=tuple(clip["audio_hash"] for clip in train),
        test_ids=test_ids,
        test_file_hashes=tuple(clip.get("file_hash", "") for clip in data["test"]),
        test_audio_hashes=tuple(clip["audio_hash"] for clip in data["test"]),
        test=test_sum / len(finished),
        dropped=tuple(data.get("dropped", ())),
        test_prior=tuple(data.get("test_prior", ())),
        cut=data.get("cut", {}),
        without_transcript=tuple(data.get("without_transcript", ())),
        text_leak=data.get("text_leak"),
        unclear=(),
        unclear_fold_of=np.zeros(0, np.int64),
        votes=None,
    )
    return _judged_by_majorities(run, train) if "votes" in train[0] else run


def _check_is_run(folder: Path) -> None:
    """Raise UserError for what is no run but near one: several of them, a part of one, or the model of all clips."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder. A run is what `python -m ser.train` writes, e.g. outputs/wav2vec2_base.")
    if not (folder / "data.json").is_file() and (seeds := sorted(folder.glob("seed_*"))):
        raise UserError(f"{folder} holds runs of several seeds; here one is needed, e.g. {seeds[0]}.")
    if folder.resolve().name == FULL_FIT:
        raise UserError(f"{folder} was trained on all clips and has no out-of-fold predictions, which are needed here. Name its run.")
    if not (folder / "data.json").is_file() and (whole := run_folder_of(folder)):
        raise UserError(f"{folder} is a part of a run; here the run is needed, with all its folds: {_as_given(whole, folder)}.")


def _as_given(run: Path, part: Path) -> Path:
    """The run of a part, as far as the part was named by a path that shows it."""
    return next((parent for parent in part.parents if parent.absolute() == run), run)


def _judged_by_majorities(run: Run, train: list[dict]) -> Run:
    """The run with those of its clips alone that annotators agree on, and all their votes. train: of data.json."""
    clear, there = np.array([clip["clear"] for clip in train]), run.predicted

    def kept(values: tuple) -> tuple:
        return tuple(value for value, agreed in zip(values, clear, strict=True) if agreed)

    return replace(
        run,
        ids=kept(run.ids),
        labels=run.labels[clear],
        speakers=None if run.speakers is None else kept(run.speakers),
        fold_of=run.fold_of[clear],
        oof=run.oof[clear],
        file_hashes=kept(run.file_hashes),
        audio_hashes=kept(run.audio_hashes),
        unclear=tuple(name for name, agreed in zip(run.ids, clear, strict=True) if not agreed),
        unclear_fold_of=run.fold_of[~clear],
        votes=(np.array([clip["votes"] for clip in train], dtype=float)[there], run.oof[there]),
    )


def read_fold(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and probabilities (n, C) of the validation part of a finished fold folder, rows in the order of data.json.

    Clips without a majority of votes aren't among them.
    """
    folder = Path(folder)
    fold = read_record(folder / "metrics.json", ("fold", "label_names"))
    _, train, labels = read_data(folder.parent / "data.json")
    ids = [clip["id"] for clip in train]
    rows = np.flatnonzero(read_fold_numbers(folder.parent / "folds.csv", ids) == fold["fold"])
    probabilities = read_probabilities(folder / "valid.csv", [ids[row] for row in rows], fold["label_names"], labels.ndim == 2)
    clear = np.array([train[row].get("clear", True) for row in rows])
    return labels[rows][clear], probabilities[clear]


def read_probabilities(path: str | Path, ids: Sequence[str], label_names: Sequence[str], multi_label: bool = False) -> np.ndarray:
    """Read a valid.csv or test.csv (`id`, `p_<label>` …) as (len(ids), C) float64, rows in the order of `ids`.

    Raises UserError unless the file has exactly these ids and columns, and every row is a probability distribution; with multi_label, every
    value a probability.
    """
    path = Path(path)
    table = read_csv(path)
    columns = ["id", *(f"p_{name}" for name in label_names)]
    if list(table.columns) != columns:
        raise UserError(f"{path} has the columns {', '.join(table.columns)}; {', '.join(columns)} are expected, in this order.")
    check_same_ids(unique(table["id"], path), ids, str(path), "the run's data.json and folds.csv")
    try:
        values = table[columns[1:]].to_numpy(dtype=object).astype(float)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: a probability can't be read as a number ({error}). Was the file cut short?") from None
    for fault, bad in {
        "NaN or infinite": ~np.isfinite(values).all(axis=1),
        "negative": (values < 0).any(axis=1),
        "above one" if multi_label else "not summing to one": (values > 1 + SUM_TOLERANCE).any(axis=1)
        if multi_label
        else np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE,
    }.items():
        if bad.any():
            raise UserError(
                f"{path}: {bad.sum()} of {len(values)} rows hold probabilities that are {fault}, "
                f"first for {table['id'].iloc[int(bad.argmax())]}. Train this fold again."
            )
    return values[pd.Index(table["id"]).get_indexer(pd.Index(ids))]


def check_same_ids(given: Sequence[str], expected: Sequence[str], given_name: str, expected_name: str) -> None:
    """Raise UserError unless both hold the same ids, in whatever order; the message shows some that differ."""
    lacking, extra = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if lacking or extra:
        parts = [f"{len(names)} {what} ({shown(names)})" for names, what in ((lacking, "missing"), (extra, "too many")) if names]
        raise UserError(f"the ids in {given_name} don't match {expected_name}: {' and '.join(parts)}.")
