"""Several labels a clip, or none (`data.multi_label`): read from columns label_<emotion> or from lists, kept as a matrix of 0 and 1.

Wherever labels are an array of two dimensions (clips, labels), a clip has several; of one dimension, each clip has one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ser.data.csv_input import CsvInput, is_missing, shown
from ser.data.label_column import LABEL_COLUMNS, LIST_SEPARATOR, OWN, list_hint, read_labels
from ser.data.votes import vote_columns
from ser.runtime.errors import UserError

PREFIX = "label_"
SEPARATOR = "|"
"""Between the labels of a list, as it is written here; read are also , and ;."""
_NO_LIST = re.compile(r"""^[\[{'"]|[\]}'"]$""")  # lists as pandas or JSON write them
_CELLS = {"0": 0, "0.0": 0, "false": 0, "no": 0, "1": 1, "1.0": 1, "true": 1, "yes": 1}


def read_label_matrix(source: CsvInput, labels: str, need_labels: bool) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The labels of every clip (N, C), int64 of 0 and 1, and the label names. labels: `data.labels`, as for one label a clip.

    Columns label_<emotion> hold 0 or 1 (nothing is 0); a column `label` (or `emotion`) holds lists such as joy|sadness. A clip may have no
    label. (None, ()) where there are neither, and they aren't needed. Raises UserError for anything else.
    """
    columns = [name for name in source.header if name.casefold().startswith(PREFIX)]
    lists = source.column(*LABEL_COLUMNS)
    if columns and lists is not None:
        raise UserError(f"{source.path}: a column of lists (label or emotion) and {shown(columns)}; keep one of the two forms.")
    if vote_columns(source, labels):
        raise UserError(f"{source.path}: columns of votes say how sure one label is; data.multi_label has no use for them. Take one out.")
    if columns:
        return _from_columns(source, columns, labels)
    if lists is None or (not need_labels and all(map(is_missing, lists))):
        if need_labels:
            source.required(*LABEL_COLUMNS)
        return None, ()
    return _from_lists(source, lists, labels)


def refuse_folders(root: object, multi_label: bool) -> None:
    """Raise UserError where several labels a clip are asked of a folder per emotion."""
    if multi_label:
        raise UserError(f"data.multi_label: {root} holds a folder per emotion, so each clip has one label. Give a CSV, or set it to false.")


def _from_columns(source: CsvInput, columns: Sequence[str], labels: str) -> tuple[np.ndarray, tuple[str, ...]]:
    written = [name[len(PREFIX) :] for name in columns]
    places, names = read_labels(written, labels, source.path, columns, "column of labels")
    if len(set(places.tolist())) < len(places):
        twice = [column for place, column in zip(places, columns, strict=True) if (places == place).sum() > 1]
        raise UserError(f"{source.path}: two columns name the same label: {shown(twice)}. Keep one.")
    matrix = np.zeros((len(source.rows), len(names)), np.int64)
    for place, column in zip(places, columns, strict=True):
        cells = ["0" if is_missing(cell) else cell.strip().casefold() for cell in source.column(column.casefold())]
        if wrong := source.rows_where(cell not in _CELLS for cell in cells):
            given = next(cell for cell in cells if cell not in _CELLS)
            raise UserError(f"{source.path}: column {column} holds {given!r}; allowed are 0 and 1, in {shown(wrong)}.")
        matrix[:, place] = [_CELLS[cell] for cell in cells]
    return matrix, names


def _from_lists(source: CsvInput, cells: Sequence[str], labels: str) -> tuple[np.ndarray, tuple[str, ...]]:
    lists = [[part.strip() for part in LIST_SEPARATOR.split(cell) if not is_missing(part)] for cell in cells]
    parts = [part for listed in lists for part in listed]
    rows = np.repeat(np.arange(len(lists)), [len(listed) for listed in lists])
    if odd := next((part for part in parts if _NO_LIST.search(part)), None):
        raise UserError(
            f"{source.path}: given {odd!r} in a list of labels; write them as joy|sadness, with | , or ; between, and nothing around."
        )
    if labels != OWN and (hint := list_hint(parts, several=True)):
        raise UserError(f"{source.path}: {hint}")
    if not parts:
        raise UserError(f"{source.path}: not one row has a label, so there is nothing to learn.")
    numbers, names = read_labels(parts, labels, source.path, [f"row {source.numbers[row]}" for row in rows])
    matrix = np.zeros((len(lists), len(names)), np.int64)
    matrix[rows, numbers] = 1
    return matrix, names


def plain(label: np.ndarray) -> int | list[int]:
    """A clip's label as data.json has it: a number, or the numbers of several."""
    return int(label) if np.ndim(label) == 0 else np.flatnonzero(label).tolist()


def from_plain(labels: Sequence[Sequence[int]], count: int) -> np.ndarray:
    """(N, count): the matrix of lists of numbers, as data.json has them. Raises ValueError or TypeError for anything else."""
    matrix = np.zeros((len(labels), count), np.int64)
    for row, listed in enumerate(labels):
        if not all(0 <= number < count for number in listed):
            raise ValueError(f"labels {listed}; they go from 0 to {count - 1}")
        matrix[row, list(listed)] = 1
    return matrix


def listed(given: np.ndarray, label_names: Sequence[str]) -> list[str]:
    """Each row of 0 and 1 (N, C) as a list, joy|sadness; "" without a label."""
    return [SEPARATOR.join(np.asarray(label_names, dtype=object)[row.astype(bool)]) for row in given]


def label_sets(labels: np.ndarray) -> np.ndarray:
    """(N,) equal numbers for clips of equal labels, whether they have one or several."""
    return labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)


def label_shares(labels: np.ndarray, count: int) -> np.ndarray:
    """(count,) the share of the clips that have each label."""
    return np.bincount(labels, minlength=count) / len(labels) if labels.ndim == 1 else labels.mean(axis=0)


def occurring(labels: np.ndarray) -> set[int]:
    """The numbers of the labels that some clip has."""
    return set(labels.tolist()) if labels.ndim == 1 else set(np.flatnonzero(labels.any(axis=0)).tolist())


def describe_absent(labels: np.ndarray, label_names: Sequence[str], wanted: str) -> str | None:
    """Which labels no training clip has, and how to do without them; None where each has one. wanted: `data.labels`."""
    absent = [name for number, name in enumerate(label_names) if number not in occurring(labels)]
    if not absent:
        return None
    if wanted == "auto":
        instead = "take their columns out" if labels.ndim == 2 else "--data.labels own, which takes the numbers as names"
    else:
        instead = "--data.labels auto (own, where labels are numbers)"
    return (
        f"{len(absent)} of {len(label_names)} labels (data.labels {wanted}) have no training clip and can't be learned: "
        f"{', '.join(absent)}. To train on the others alone: {instead}."
    )


def strata(labels: np.ndarray, least: int) -> np.ndarray:
    """(N,) what to stratify by where clips have several labels: the rarest label of each clip, of those that `least` clips have.

    Groups of fewer clips than `least`, which no split could share out, are put together with the largest one.
    """
    counts = labels.sum(axis=0)
    rarity = np.where((labels > 0) & (counts >= least), counts, np.iinfo(np.int64).max)
    found = np.where(rarity.min(axis=1) < np.iinfo(np.int64).max, rarity.argmin(axis=1), labels.shape[1])
    sizes = np.bincount(found, minlength=labels.shape[1] + 1)
    return np.where(sizes[found] < least, sizes.argmax(), found)
