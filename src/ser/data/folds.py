"""Splitting the training clips into folds by label and by speaker or sentence (copies aren't kept together: `duplicates` tells of them),
and keeping the split in a file.

The fold of a clip is a function of the clips' ids, labels and speakers and of the seed; the order of the rows doesn't matter.
What is said about a split is read off the split itself, not off the method that was meant to make it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ser.config import FoldsConfig
from ser.config.data import ALWAYS_TRAINED
from ser.data.csv_input import check_ids, count, read_csv_input, shown
from ser.data.label_matrix import label_sets, label_shares, strata
from ser.data.tables import Table
from ser.data.text_groups import text_groups
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv
from ser.runtime.seeds import seed_of


def make_folds(train: Table, config: FoldsConfig, seed: int, label_names: Sequence[str] = ()) -> tuple[np.ndarray, str]:
    """Split into `config.n` folds. Returns the fold of each row (int64, shape (N,), 0 to n-1) and how the split was made.

    label_names serve the messages. Raises UserError when a class has fewer clips than folds, when there are fewer speakers than
    folds, when speakers are asked for and unknown, and when a split leaves a fold without training clips of some class.
    """
    by_speaker = config.split == "speaker" or (config.split == "auto" and train.speakers is not None)
    _check_labels_known(train)
    _check_possible(train, config, by_speaker, label_names)
    groups = np.array(train.speakers) if by_speaker else _sentences(train) if config.split == "text" else None
    # Sorted by id, the split doesn't change with the order of the rows.
    order = np.array(sorted(range(len(train)), key=lambda row: train.ids[row]))
    labels = strata(train.labels[order], config.n) if train.labels.ndim == 2 else train.labels[order]
    fold_seed = seed_of(seed, "folds")
    if groups is not None:
        parts = StratifiedGroupKFold(config.n, shuffle=True, random_state=fold_seed).split(labels, labels, groups[order])
    else:
        parts = StratifiedKFold(config.n, shuffle=True, random_state=fold_seed).split(labels, labels)
    folds = np.empty(len(train), dtype=np.int64)
    for fold, (_, valid) in enumerate(parts):
        folds[order[valid]] = fold
    _check_trainable(train, folds, config, label_names)
    return folds, describe_split(train, folds)


def read_or_make_folds(
    path: str | Path, train: Table, config: FoldsConfig, seed: int, label_names: Sequence[str] = (), left_out: Collection[str] = ()
) -> tuple[np.ndarray, str]:
    """The split in `path` (a run's folds.csv) if it is there, else the one in `config.file`, else a new one.

    left_out: ids of clips that can't be used, which `config.file` may have all the same. Writes nothing: `write_folds` does. Raises
    UserError when a file doesn't fit the clips or the settings.
    """
    path = Path(path)
    _check_labels_known(train)
    if not path.is_file():
        if config.file is None:
            return make_folds(train, config, seed, label_names)
        advice = "Give another cv.file, or none to make a new split."
        return _checked(Path(config.file), train, config, label_names, advice, left_out)
    folds, sentence = _checked(
        path, train, config, label_names, "If data or settings changed on purpose, start the run over (--run.start_over true)."
    )
    if config.file is not None:
        given, _ = _checked(Path(config.file), train, config, label_names, "Give another cv.file.", left_out)
        if not np.array_equal(folds, given):
            raise UserError(f"{path} holds another split than cv.file {config.file}. Use another --run.output or --run.start_over true.")
    return folds, sentence


def write_folds(path: str | Path, train: Table, folds: np.ndarray) -> None:
    """Write `id,fold` atomically, rows in table order."""
    write_csv(path, pd.DataFrame({"id": train.ids, "fold": folds}))


def read_folds(path: str | Path, ids: Sequence[str], n: int, advice: str, left_out: Collection[str] = ()) -> np.ndarray:
    """The fold of each of `ids` from a CSV `id,fold`, in any order of rows. left_out: ids that may stand in it besides.

    With n 1 it is 0 (held out) or -1 (always trained on). Raises UserError, ending in `advice`, when ids are missing or unknown or a fold
    isn't an integer from 0 to n-1, or is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"cv.file: {path} is not a file. It must be a CSV `id,fold`.")
    source = read_csv_input(path)
    found = source.required("id")
    check_ids(found, source)
    # pandas writes 0.0 where a fold was missing once.
    fold_of = {name: cell.strip().removesuffix(".0") for name, cell in zip(found, source.required("fold"), strict=True)}
    missing = [name for name in ids if name not in fold_of]
    extra = sorted(fold_of.keys() - set(ids) - set(left_out))
    if missing or extra:
        without = f"{count(missing, 'training clip')} not in it ({shown(missing)})" if missing else ""
        foreign = f"{count(extra, 'id')} in it that {'is' if len(extra) == 1 else 'are'} no training clip ({shown(extra)})" if extra else ""
        raise UserError(f"{path} was made for other clips: {', '.join(filter(None, (without, foreign)))}. {advice}")
    allowed = {str(fold): fold for fold in ((ALWAYS_TRAINED, 0) if n == 1 else range(n))}
    wrong = sorted({cell for cell in fold_of.values() if cell not in allowed})
    if wrong:
        are = "0 (held out) and -1 (always trained on)" if n == 1 else f"0 to {n - 1}"
        raise UserError(f"{path}: fold {shown(wrong)}; cv.n is {n}, so folds are {are}. {advice}")
    folds = np.array([allowed[fold_of[name].strip()] for name in ids], dtype=np.int64)
    empty = sorted(set(allowed.values()) - set(folds.tolist()))
    if empty and n == 1:
        lacking = "held-out clip (fold 0)" if 0 in empty else "clip that is always trained on (fold -1)"
        raise UserError(f"{path}: no {lacking}, and with cv.n 1 one of each is needed at least. {advice}")
    if empty:
        raise UserError(f"{path}: no clip in fold {shown(empty)}, but cv.n is {n}. Set cv.n to the file's folds. {advice}")
    return folds


def describe_split(train: Table, folds: np.ndarray) -> str:
    """One sentence on a split: how many folds, whether speakers are disjoint, whether labels are stratified."""
    held_out = int((folds != ALWAYS_TRAINED).sum())
    head = f"{len(np.unique(folds))}-fold" if held_out == len(train) else f"{held_out} of {len(train)} clips held out"
    head += _about_texts(train, folds)
    by = "the rarest label of each clip" if train.labels.ndim == 2 else "label"
    stratified = f"stratified by {by}" if _stratified(train, folds) else "labels not in equal shares"
    if train.speakers is None:
        return f"{head}, {stratified}; speakers are unknown, so whether they are disjoint between folds cannot be checked"
    speakers, shared = _speakers_in_folds(train, folds)
    if not shared:
        return f"{head}, speaker-disjoint ({speakers} speakers), {stratified}"
    return f"{head}, {stratified}; not speaker-disjoint ({shared} of {speakers} speakers are in more than one fold)"


def _checked(
    path: Path, train: Table, config: FoldsConfig, label_names: Sequence[str], advice: str, left_out: Collection[str] = ()
) -> tuple[np.ndarray, str]:
    folds = read_folds(path, train.ids, config.n, advice, left_out)
    if config.split == "speaker":
        _check_speakers_known(train)
        if shared := _speakers_in_folds(train, folds)[1]:
            raise UserError(f"{path}: {shared} speakers are in more than one fold, but cv.split is speaker. {advice}")
    if config.split == "text" and (shared := _groups_in_folds(_sentences(train), folds)[1]):
        raise UserError(f"{path}: {shared} sentences are in more than one fold, but cv.split is text. {advice}")
    _check_trainable(train, folds, config, label_names)
    return folds, describe_split(train, folds)


def _check_possible(train: Table, config: FoldsConfig, by_speaker: bool, label_names: Sequence[str]) -> None:
    values, counts = np.unique(label_sets(train.labels), return_counts=True)
    if len(values) < 2:
        alike = "one label" if train.labels.ndim == 1 else "the same labels"
        raise UserError(f"folds: all {len(train)} training clips have {alike}; at least two emotions are needed to train.")
    few = (
        []
        if train.labels.ndim == 2
        else [f"{_name(label, label_names)} ({n})" for label, n in zip(values, counts, strict=True) if n < config.n]
    )
    if few:
        raise UserError(
            f"cv.n: {config.n} folds, but fewer clips of {shown(few, 20)}. Every class needs a clip per fold: "
            f"add clips of it, take the class out{_or_fewer_folds(int(counts.min()))}."
        )
    if by_speaker:
        _check_speakers_known(train)
        speakers = len(set(train.speakers))
        if speakers < config.n:
            raise UserError(
                f"cv.n: {config.n} folds, but {speakers} speaker{'' if speakers == 1 else 's'}. Split without regard to speakers "
                f"with --cv.split stratified{_or_fewer_folds(speakers)}."
            )


def _check_labels_known(train: Table) -> None:
    if train.labels is None:
        raise UserError("folds: the clips have no labels, so there is nothing to train on. Add a column `label`.")


def _check_speakers_known(train: Table) -> None:
    if train.speakers is None:
        raise UserError(
            "cv.split: speaker needs to know the speakers. Give a CSV `id,speaker` with --data.speakers, or use --cv.split stratified."
        )


def _check_trainable(train: Table, folds: np.ndarray, config: FoldsConfig, label_names: Sequence[str]) -> None:
    """Every class in at least two folds: else the model of one fold never hears what it is asked about."""
    if len(np.unique(folds)) < config.n:
        raise UserError(f"cv.n: {config.n} folds can't be made of so few speakers: some fold stays empty. Set --cv.n lower.")
    if train.labels.ndim == 2:
        return  # of a label that only one fold has, the report's table per label tells; the clips' other labels are learnt all the same
    stuck = [
        f"{_name(label, label_names)} (fold {folds[train.labels == label][0]})"
        for label in np.unique(train.labels)
        if len(where := np.unique(folds[train.labels == label])) < 2 and where[0] != ALWAYS_TRAINED
    ]
    if stuck and config.n == 1:
        raise UserError(f"folds: all clips of {shown(stuck, 20)} are held out, so the model would be trained without that class.")
    if stuck:
        raise UserError(
            f"folds: all clips of {shown(stuck, 20)} are in one fold, so its model would be trained without that class. "
            "Few speakers have it: add clips of other speakers, or use --cv.split stratified."
        )


def _or_fewer_folds(most: int) -> str:
    return f", or set --cv.n to {most} or less" if most >= 2 else ""


def _stratified(train: Table, folds: np.ndarray) -> bool:
    """Each class's share in a fold is within 10 points of its share overall."""
    count = train.labels.max() + 1 if train.labels.ndim == 1 else train.labels.shape[1]
    share = np.stack([label_shares(train.labels[folds == fold], count) for fold in np.unique(folds)])
    return bool(np.abs(share - label_shares(train.labels, count)).max() <= 0.10)


def _sentences(train: Table) -> np.ndarray:
    """The group of each text (`text_groups`); a clip without one is a group of its own."""
    if train.texts is None:
        raise UserError("cv.split: text needs to know the texts. Give a column `text`, or a CSV `id,text` with --data.transcripts.")
    groups = text_groups(train.texts)
    return np.where(groups < 0, len(groups) + np.arange(len(groups)), groups)


def _about_texts(train: Table, folds: np.ndarray) -> str:
    if train.texts is None:
        return ""
    sentences, shared = _groups_in_folds(_sentences(train), folds)
    return f", text-disjoint ({sentences} sentences)" if not shared else f", {shared} of {sentences} sentences in more than one fold"


def _speakers_in_folds(train: Table, folds: np.ndarray) -> tuple[int, int]:
    """How many speakers there are, and how many of them are in more than one fold."""
    return _groups_in_folds(np.array(train.speakers), folds)


def _groups_in_folds(groups: np.ndarray, folds: np.ndarray) -> tuple[int, int]:
    folds_of = pd.Series(folds).groupby(groups).nunique()
    return len(folds_of), int((folds_of > 1).sum())


def _name(label: int, label_names: Sequence[str]) -> str:
    return label_names[label] if label < len(label_names) else f"label {label}"
