"""Which clips there are: reading a competition folder, a folder per emotion, or a CSV into one form.

The three are told apart by looking. Nothing here opens an audio file: a path that leads nowhere stays in the table, and the
clip store gives it the status `missing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from ser.config import DataConfig
from ser.data.csv_input import CsvInput, as_text, check_ids, count, is_missing, read_csv_input, read_transcripts, shown
from ser.data.folders import audio_below, check_every_class_has_clips, one_data_set_below
from ser.data.label_column import LABEL_COLUMNS, OWN, read_labels, renamed, written_labels
from ser.data.label_matrix import read_label_matrix, refuse_folders
from ser.data.labels import is_emotion
from ser.data.paths import is_audio_name, resolve_paths
from ser.data.sample_submission import Sample, read_sample
from ser.data.speakers import SPEAKERS, known_speakers, knows_any, read_speakers, speaker_column
from ser.data.text_input import visible
from ser.data.votes import read_votes, vote_columns
from ser.runtime.errors import UserError


@dataclass(frozen=True, eq=False)
class Table:
    """Clips in the order of their source. labels: int64 (N,), positions in label_names; where a clip may have several, (N, C) of 0 and 1.

    paths is () where there are texts only. texts: what is said or written, "" where that is unknown. genders: female or male.
    votes: (N, C), the share of annotators for each label, where several were asked; clear: (N,) bool, whether the label is a majority's.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray | None = None
    speakers: tuple[str | None, ...] | None = None
    genders: tuple[str | None, ...] | None = None
    texts: tuple[str, ...] | None = None
    votes: np.ndarray | None = None
    clear: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray | Sequence[int]) -> Table:
        """The given rows, in the given order. A boolean array selects the rows where it is true."""
        rows = np.asarray(rows)
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)

        def of(values: np.ndarray | tuple | None) -> np.ndarray | tuple | None:
            if isinstance(values, np.ndarray):
                return values[positions]
            return values and tuple(values[row] for row in positions)

        return Table(**{part.name: of(getattr(self, part.name)) for part in fields(self)})

    @property
    def scored(self) -> np.ndarray:
        """(N,) bool: clips whose label is certain enough to judge by; all where nobody voted."""
        return np.ones(len(self), bool) if self.clear is None else self.clear


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: training clips, and for a competition test clips and the sample submission.

    label_names are registry keys (with data.labels own: names as they stand) in label order; () when the clips have no labels.
    kind is competition, folders or csv. renamed: as `label_column.renamed` gives it.
    """

    label_names: tuple[str, ...]
    train: Table
    test: Table | None
    sample: Sample | None
    root: Path
    kind: str
    renamed: Mapping[str, str] = field(default_factory=dict)


def read_dataset(config: DataConfig, need_labels: bool = True) -> Dataset:
    """Read what `config.root` names.

    With need_labels=False a source without labels is fine (labels are then None); labels that are there are still read.
    Raises UserError for anything wrong with the tables.
    """
    root = Path(config.root).expanduser()
    if not config.root.strip():
        raise UserError("data.root is empty. Give a competition folder, a folder with one subfolder per emotion, or a CSV.")
    if root.is_file():
        return _read_single_csv(root, config, need_labels)
    if (root / "train.csv").is_file() or (root / "test.csv").is_file():
        return _read_competition(root, config, need_labels)
    clips = one_data_set_below(root, config.allow_absolute_paths) if root.is_dir() else []
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
    speakers, genders = known_speakers(Path(config.speakers).expanduser(), table.ids)
    return replace(table, speakers=speakers, genders=genders)


def _read_competition(root: Path, config: DataConfig, need_labels: bool) -> Dataset:
    train, test, sample, label_names, others = Table((), ()), None, None, (), {}
    if (root / "train.csv").is_file():
        source = read_csv_input(root / "train.csv")
        train = _with_speakers(with_transcripts(_read_clips(source, config), config), root, config)
        train, label_names = _with_labels(train, source, config, need_labels)
        others = renamed(written_labels(source), label_names)
    elif need_labels:
        raise UserError(f"{root}: there is test.csv but no train.csv, and labelled clips are needed. Put train.csv there.")
    if (root / "test.csv").is_file():
        test = read_clips(root / "test.csv", config)
        if (root / "sample_submission.csv").is_file() and not config.multi_label:  # whose form has one label a row
            sample = read_sample(root / "sample_submission.csv", test.ids, label_names, "test.csv")
    return Dataset(label_names, train, test, sample, root, "competition", others)


def _read_single_csv(path: Path, config: DataConfig, need_labels: bool) -> Dataset:
    if is_audio_name(path.name):
        raise UserError(
            f"data.root: {path} is an audio file. Give a competition folder, a folder with one subfolder per emotion, "
            "or a CSV `file_path,emotion`."
        )
    source = read_csv_input(path)
    train = with_transcripts(_read_clips(source, config), config)
    if config.speakers or knows_any(path.parent / SPEAKERS, train.ids):  # those beside test_labels.csv are of other clips
        train = _with_speakers(train, path.parent, config)
    train, label_names = _with_labels(train, source, config, need_labels)
    return Dataset(label_names, train, None, None, path, "csv", renamed(written_labels(source), label_names))


def _read_folders(root: Path, clips: list[str], config: DataConfig, need_labels: bool) -> Dataset:
    """Clips are named by their path below the root, so that two files of one name in two folders stay two clips."""
    refuse_folders(root, config.multi_label)
    ids = tuple(map(visible, clips))
    if len(set(ids)) < len(ids):
        twice = [name for name, clip in zip(ids, clips, strict=True) if name != clip]
        raise UserError(f"{root}: file names that differ in nothing one can see: {shown(twice)}. Rename them.")
    folders = [name.split("/")[0] for name in ids]
    outside = [name for name in clips if "/" not in name]
    if need_labels and outside:
        raise UserError(
            f"{root}: {count(outside, 'audio file')} in no emotion's folder: {shown(outside)}. "
            "Put each clip in a folder named after its emotion, e.g. Angry/x.wav."
        )
    if need_labels:
        check_every_class_has_clips(root, folders, config.labels)
    labels, label_names = None, ()
    if need_labels or not (outside or (any(not is_emotion(folder) for folder in folders) and config.labels != OWN)):
        labels, label_names = read_labels(folders, config.labels, root, clips, "folder")
    train = with_transcripts(Table(ids, tuple(root / name for name in clips), labels), config)
    return Dataset(label_names, _with_speakers(train, root, config), None, None, root, "folders", renamed(folders, label_names))


def _read_clips(source: CsvInput, config: DataConfig) -> Table:
    """The clips of a CSV with `path` or `file_path`, or `text`, or both, and with `id` and `speaker` where it has them.

    Without ids, paths are the ids; without either, row numbers are.
    """
    texts = source.column("text")
    written = source.column("path", "file_path")
    if written is None and texts is None:
        source.required("path", "file_path")
    ids = source.column("id") or written or tuple(str(row) for row in range(1, len(source.rows) + 1))
    check_ids(ids, source)
    paths = () if written is None else resolve_paths(written, source.path.parent, config.allow_absolute_paths, source.path)
    return Table(ids, paths, None, speaker_column(source, ids), texts=texts and tuple(map(as_text, texts)))


def _with_labels(table: Table, source: CsvInput, config: DataConfig, need_labels: bool) -> tuple[Table, tuple[str, ...]]:
    """The table with its labels, and the votes they come from where there are any; the label names."""
    if config.multi_label:
        labels, label_names = read_label_matrix(source, config.labels, need_labels)
        return replace(table, labels=labels), label_names
    if vote_columns(source, config.labels):
        votes, label_names = read_votes(source, config.labels)
        return replace(table, labels=votes.labels, votes=votes.shares, clear=votes.clear), label_names
    cells = source.required(*LABEL_COLUMNS) if need_labels else source.column(*LABEL_COLUMNS)
    if cells is None or (not need_labels and all(map(is_missing, cells))):
        return table, ()
    labels, label_names = read_labels(cells, config.labels, source.path, [f"row {number}" for number in source.numbers])
    return replace(table, labels=labels), label_names


def _with_speakers(train: Table, folder: Path, config: DataConfig) -> Table:
    """Speakers from the CSV the user named, else train_speakers.csv in the data's folder, else the table's own column."""
    path = Path(config.speakers).expanduser() if config.speakers else folder / SPEAKERS
    if not path.is_file():
        if config.speakers:
            raise UserError(f"data.speakers: {path} is not a file. It must be a CSV `id,speaker`.")
        return train
    speakers, genders = read_speakers(path, train.ids)
    return replace(train, speakers=speakers, genders=genders)


def _no_data(root: Path) -> str:
    state = "holds no train.csv and no audio" if root.is_dir() else "is not there"
    return (
        f"data.root: {root} {state}. Put the competition's files there (train.csv, test.csv, sample_submission.csv and the folders "
        "train/ and test/), or point --data.root at such a folder, at a folder with one subfolder per emotion, or at a CSV "
        "`id,path,label` or `file_path,emotion`. Without data of your own, `bash train.sh` makes demo data and trains on it."
    )
