"""Which clips there are: reading a competition folder, a folder per emotion, or a CSV into one form.

The three are told apart by looking. Nothing here opens an audio file: a path that leads nowhere stays in the table, and the
clip store gives it the status `missing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import DataConfig
from ser.data.csv_input import CsvInput, check_ids, count, is_missing, read_csv_input, read_transcripts, shown
from ser.data.folders import audio_below, check_every_class_has_clips
from ser.data.labels import EMOTIONS, canonical, describe_order, is_emotion, label_set
from ser.data.paths import is_audio_name, resolve_paths
from ser.runtime.errors import UserError

GENDERS = {"female": ("female", "f", "여성", "여"), "male": ("male", "m", "남성", "남")}


@dataclass(frozen=True, eq=False)
class Table:
    """Clips in the order of their source. `labels` are positions in the data set's label_names, int64 of shape (N,).

    paths is () where there are texts only. texts: what is said or written, "" where that is unknown. genders: female or male.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray | None = None
    speakers: tuple[str | None, ...] | None = None
    genders: tuple[str | None, ...] | None = None
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray | Sequence[int]) -> Table:
        """The given rows, in the given order. A boolean array selects the rows where it is true."""
        rows = np.asarray(rows)
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return Table(
            ids=tuple(self.ids[row] for row in positions),
            paths=tuple(self.paths[row] for row in positions) if self.paths else (),
            labels=None if self.labels is None else self.labels[positions],
            speakers=None if self.speakers is None else tuple(self.speakers[row] for row in positions),
            genders=None if self.genders is None else tuple(self.genders[row] for row in positions),
            texts=None if self.texts is None else tuple(self.texts[row] for row in positions),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: training clips, and for a competition test clips and the sample submission (all columns as text).

    label_names are registry keys in label order; () when the clips have no labels. kind is competition, folders or csv.
    """

    label_names: tuple[str, ...]
    train: Table
    test: Table | None
    sample: pd.DataFrame | None
    root: Path
    kind: str


def read_dataset(config: DataConfig, need_labels: bool = True) -> Dataset:
    """Read what `config.root` names.

    With need_labels=False a source without labels is fine (labels are then None); labels that are there are still read.
    Raises UserError for anything wrong with the tables.
    """
    root = Path(config.root)
    if not config.root.strip():
        raise UserError("data.root is empty. Give a competition folder, a folder with one subfolder per emotion, or a CSV.")
    if root.is_file():
        return _read_single_csv(root, config, need_labels)
    if (root / "train.csv").is_file() or (root / "test.csv").is_file():
        return _read_competition(root, config, need_labels)
    clips = audio_below(root, config.allow_absolute_paths) if root.is_dir() else []
    if clips:
        return _read_folders(root, clips, config, need_labels)
    raise UserError(_no_data(root))


def read_paths(source: Path, config: DataConfig) -> tuple[list[Path], list[str]]:
    """The audio files behind a folder or a CSV, and an id for each."""
    clips = read_audio(source, config)
    return list(clips.paths), list(clips.ids)


def read_audio(source: Path, config: DataConfig) -> Table:
    """The clips behind a folder (all audio below it) or a CSV (its labels are not looked at)."""
    if source.is_dir():
        names = audio_below(source, config.allow_absolute_paths)
        if not names:
            raise UserError(f"{source}: no audio below this folder.")
        return Table(tuple(names), tuple(source / name for name in names))
    clips = read_clips(source, config)
    if not clips.paths:
        raise UserError(f"{source}: no column path or file_path, so it names no audio. A model that reads texts takes it.")
    return clips


def read_clips(source: Path, config: DataConfig) -> Table:
    """The clips of a CSV, without their labels: ids, and paths, texts and speakers as far as it has them."""
    return with_transcripts(_read_clips(read_csv_input(source), config), config)


def with_transcripts(table: Table, config: DataConfig) -> Table:
    """The table with its texts from `data.transcripts`, where that is set; a clip that isn't in it has none ("").

    Raises UserError when it knows none of the clips.
    """
    if config.transcripts is None:
        return table
    text_of = read_transcripts(config.transcripts)
    if len(table) and not text_of.keys() & set(table.ids):
        raise UserError(
            f"data.transcripts: {config.transcripts} has the ids {shown(text_of)}, the clips {shown(table.ids)}: not one is the same."
        )
    return replace(table, texts=tuple(text_of.get(name, "") for name in table.ids))


def with_voices(table: Table, config: DataConfig) -> Table:
    """The table with the speakers (and genders) that `data.speakers` knows, where that is set; None for clips that aren't in it."""
    if config.speakers is None:
        return table
    source = read_csv_input(Path(config.speakers))
    ids = source.required("id")
    speaker_of = dict(zip(ids, source.required("speaker"), strict=True))
    gender_of = dict(zip(ids, map(partial(_gender, path=source.path), source.column("gender") or [""] * len(ids)), strict=True))
    if not speaker_of.keys() & set(table.ids):
        raise UserError(f"data.speakers: {source.path} has the ids {shown(ids)}, the clips {shown(table.ids)}: not one is the same.")
    speakers, genders = (tuple(known.get(name) for name in table.ids) for known in (speaker_of, gender_of))
    return replace(table, speakers=speakers, genders=genders)


def _read_competition(root: Path, config: DataConfig, need_labels: bool) -> Dataset:
    labels, label_names = None, ()
    train, test, sample = Table((), ()), None, None
    if (root / "train.csv").is_file():
        source = read_csv_input(root / "train.csv")
        train = _with_speakers(with_transcripts(_read_clips(source, config), config), root, config)
        labels, label_names = _label_column(source, config, need_labels)
    elif need_labels:
        raise UserError(f"{root}: there is test.csv but no train.csv, and labelled clips are needed. Put train.csv there.")
    if (root / "test.csv").is_file():
        test = read_clips(root / "test.csv", config)
        if (root / "sample_submission.csv").is_file():
            sample = _read_sample(root / "sample_submission.csv", test)
    return Dataset(label_names, replace(train, labels=labels), test, sample, root, "competition")


def _read_single_csv(path: Path, config: DataConfig, need_labels: bool) -> Dataset:
    if is_audio_name(path.name):
        raise UserError(
            f"data.root: {path} is an audio file. Give a competition folder, a folder with one subfolder per emotion, "
            "or a CSV `file_path,emotion`."
        )
    source = read_csv_input(path)
    train = _with_speakers(with_transcripts(_read_clips(source, config), config), path.parent, config)
    labels, label_names = _label_column(source, config, need_labels)
    return Dataset(label_names, replace(train, labels=labels), None, None, path, "csv")


def _read_folders(root: Path, clips: list[str], config: DataConfig, need_labels: bool) -> Dataset:
    """Clips are named by their path below the root, so that two files of one name in two folders stay two clips."""
    folders = [name.split("/")[0] for name in clips]
    outside = [name for name in clips if "/" not in name]
    if need_labels and outside:
        raise UserError(
            f"{root}: {count(outside, 'audio file')} in no emotion's folder: {shown(outside)}. "
            "Put each clip in a folder named after its emotion, e.g. Angry/x.wav."
        )
    if need_labels:
        check_every_class_has_clips(root, folders)
    labels, label_names = None, ()
    if need_labels or not (outside or any(not is_emotion(folder) for folder in folders)):
        labels, label_names = _read_labels(folders, config.labels, root, "folder")
    train = with_transcripts(Table(tuple(clips), tuple(root / name for name in clips), labels), config)
    return Dataset(label_names, _with_speakers(train, root, config), None, None, root, "folders")


def _read_clips(source: CsvInput, config: DataConfig) -> Table:
    """The clips of a CSV with `path` or `file_path`, or `text`, or both, and with `id` and `speaker` where it has them.

    Without ids, paths are the ids; without either, row numbers are.
    """
    texts = source.column("text")
    written = source.column("path", "file_path")
    if written is None and texts is None:
        source.required("path", "file_path")
    ids = source.column("id") or written or tuple(str(row) for row in range(1, len(source.rows) + 1))
    check_ids(ids, source.path)
    paths = () if written is None else resolve_paths(written, source.path.parent, config.allow_absolute_paths, source.path)
    return Table(ids, paths, None, _speaker_column(source, ids), texts=texts)


def _label_column(source: CsvInput, config: DataConfig, need_labels: bool) -> tuple[np.ndarray | None, tuple[str, ...]]:
    cells = source.required("label", "emotion") if need_labels else source.column("label", "emotion")
    if cells is None or (not need_labels and all(map(is_missing, cells))):
        return None, ()
    return _read_labels(cells, config.labels, source.path, "label")


def _read_labels(cells: Sequence[str], labels: str, where: Path, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Integers (`3`, also `3.0`, as pandas writes them beside a missing value) or names, never both."""
    empty = [f"row {row}" for row, cell in enumerate(cells, start=1) if is_missing(cell)]
    if empty:
        raise UserError(f"{where}: {count(empty, 'row')} without a label: {shown(empty)}. Fill them in or take the rows out.")
    integers = [re.fullmatch(r"\s*([+-]?[0-9]{1,9})(\.0*)?\s*", cell) for cell in cells]
    if all(integers):
        names = label_set("competition6" if labels == "auto" else labels)
        values = [int(match[1]) for match in integers]
        wrong = sorted({value for value in values if not 0 <= value < len(names)})
        if wrong:
            raise UserError(f"{where}: {what} out of range: {shown(wrong)}. Allowed: {describe_order(names)}.")
        return np.array(values, dtype=np.int64), names
    if any(integers):
        mixed = [cell for cell, match in zip(cells, integers, strict=True) if not match]
        raise UserError(f"{where}: some labels are integers, others are not: {shown(dict.fromkeys(mixed))}. Use one kind.")
    return _read_label_names(cells, labels, where, what)


def _read_label_names(cells: Sequence[str], labels: str, where: Path, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    names = dict.fromkeys(cells)
    unknown = [name for name in names if not is_emotion(name)]
    if len(unknown) > 1:
        raise UserError(
            f"{where}: {count(unknown, what)} that name no emotion: {shown(unknown, 6)}. "
            f"Known: {', '.join(EMOTIONS)}; their English and Korean names work too."
        )
    try:
        keys = {name: canonical(name) for name in names}
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    found = set(keys.values())
    label_names = tuple(key for key in EMOTIONS if key in found) if labels == "auto" else label_set(labels)
    outside = [name for name, key in keys.items() if key not in label_names]
    if outside:
        raise UserError(
            f"{where}: {count(outside, what)} outside the label set {labels}: {shown(outside, 6)}. "
            f"It has {', '.join(label_names)}. Choose another with --data.labels, or auto."
        )
    return np.array([label_names.index(keys[cell]) for cell in cells], dtype=np.int64), label_names


def _with_speakers(train: Table, folder: Path, config: DataConfig) -> Table:
    """Speakers from the CSV the user named, else train_speakers.csv in the data's folder, else the table's own column."""
    path = Path(config.speakers) if config.speakers else folder / "train_speakers.csv"
    if not path.is_file():
        if config.speakers:
            raise UserError(f"data.speakers: {path} is not a file. It must be a CSV `id,speaker`.")
        return train
    source = read_csv_input(path)
    ids = source.required("id")
    check_ids(ids, path)
    speaker_of = dict(zip(ids, source.required("speaker"), strict=True))
    without = [name for name in train.ids if is_missing(speaker_of.get(name, ""))]
    if without:
        raise UserError(f"{path}: no speaker for {count(without, 'training clip')}: {shown(without)}. Every training clip needs one.")
    genders = source.column("gender")
    if genders is not None:
        gender_of = dict(zip(ids, (_gender(cell, path) for cell in genders), strict=True))
        genders = tuple(gender_of[name] for name in train.ids)
    return replace(train, speakers=tuple(speaker_of[name] for name in train.ids), genders=genders)


def _gender(cell: str, path: Path) -> str | None:
    if is_missing(cell):
        return None
    for gender, names in GENDERS.items():
        if cell.strip().casefold() in names:
            return gender
    known = [name for names in GENDERS.values() for name in names]
    raise UserError(f"{path}: gender {shown([cell])}; allowed are {shown(known, len(known))}, or an empty cell.")


def _speaker_column(source: CsvInput, ids: Sequence[str]) -> tuple[str, ...] | None:
    speakers = source.column("speaker")
    if speakers is None or all(map(is_missing, speakers)):
        return None
    without = [name for name, speaker in zip(ids, speakers, strict=True) if is_missing(speaker)]
    if without:
        raise UserError(
            f"{source.path}: no speaker for {count(without, 'clip')}: {shown(without)}. "
            "Fill in the column `speaker`, or leave it out altogether."
        )
    return speakers


def _read_sample(path: Path, test: Table) -> pd.DataFrame:
    source = read_csv_input(path)
    ids = source.required("id")
    source.required("label")
    check_ids(ids, path)
    in_sample, in_test = set(ids), set(test.ids)
    missing = [name for name in test.ids if name not in in_sample]
    extra = [name for name in ids if name not in in_test]
    if missing or extra:
        parts = [f"{count(missing, 'id')} of test.csv not in it ({shown(missing)})"] if missing else []
        parts += [f"{count(extra, 'id')} not in test.csv ({shown(extra)})"] if extra else []
        raise UserError(f"{path}: doesn't match test.csv: {', '.join(parts)}. Take both files from the same download.")
    return pd.DataFrame(source.rows, columns=[name.strip().casefold() for name in source.header])


def _no_data(root: Path) -> str:
    state = "holds no train.csv and no audio" if root.is_dir() else "is not there"
    return (
        f"data.root: {root} {state}. Put the competition's files there (train.csv, test.csv, sample_submission.csv and the folders "
        "train/ and test/), or point --data.root at such a folder, at a folder with one subfolder per emotion, or at a CSV "
        "`id,path,label` or `file_path,emotion`. Without data of your own, `bash train.sh` makes demo data and trains on it."
    )
