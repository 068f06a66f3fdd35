"""Which column of a CSV holds the labels, and from what is written there, or from the names of folders, to label numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from ser.data.csv_input import count, is_missing, shown
from ser.data.labels import EMOTIONS, canonical, describe_order, is_emotion, label_set
from ser.runtime.errors import UserError

LABEL_COLUMNS = ("label", "emotion")
"""What the column of labels may be called."""
OWN = "own"
"""The label set that is what the data holds."""
INTEGER = re.compile(r"\s*([+-]?[0-9]{1,9})([.,]0*)?\s*")


def read_labels(
    cells: Sequence[str], labels: str, where: object, rows: Sequence[str], what: str = "label"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each label (n,) int64, and the label names in the order of the numbers.

    Integers (`3`, also `3.0`, as pandas writes them beside a missing value) or names, never both. labels: `data.labels`. where, rows: what
    to call the source and each of its rows. Raises UserError.
    """
    empty = [row for row, cell in zip(rows, cells, strict=True) if is_missing(cell)]
    if empty:
        lists = " Lists such as joy|sadness want --data.multi_label true." * any("|" in cell for cell in cells)
        raise UserError(f"{where}: {count(empty, 'row')} without a label: {shown(empty)}. Fill them in or take the rows out.{lists}")
    integers = [INTEGER.fullmatch(cell) for cell in cells]
    if labels == OWN:
        return _own_labels([str(int(match[1])) for match in integers] if all(integers) else cells)
    if all(integers):
        names = label_set("competition6" if labels == "auto" else labels)
        values = [int(match[1]) for match in integers]
        wrong = sorted({value for value in values if not 0 <= value < len(names)})
        if wrong:
            raise UserError(
                f"{where}: {what} out of range: {shown(wrong)}. Allowed: {describe_order(names)}. "
                "If these aren't emotions' numbers, --data.labels own takes them as names."
            )
        return np.array(values, dtype=np.int64), names
    if any(integers):
        mixed = [cell for cell, match in zip(cells, integers, strict=True) if not match]
        raise UserError(f"{where}: some labels are integers, others are not: {shown(dict.fromkeys(mixed))}. Use one kind.")
    return _named_labels(cells, labels, where, what)


def label_numbers(cells: Sequence[str], label_names: Sequence[str], where: object) -> np.ndarray:
    """The numbers (n,) of labels whose order is known: numbers, or names in any alias. Raises UserError for any other label."""
    place = {name: number for number, name in enumerate(label_names)}
    place |= {str(number): number for number in range(len(label_names)) if str(number) not in place}
    keys = [cell if cell in place or not is_emotion(cell) else canonical(cell) for cell in map(str.strip, cells)]
    if unknown := [key for key in keys if key not in place]:
        raise UserError(f"{where}: {count(unknown, 'label')} unknown to the model: {shown(unknown)}. It has {', '.join(label_names)}.")
    return np.array([place[key] for key in keys], dtype=np.int64)


def _own_labels(cells: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The names as they stand, sorted; numbers by their size."""
    names = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
    ordered = sorted(set(names), key=int if all(map(INTEGER.fullmatch, names)) else None)
    return np.array([ordered.index(name) for name in names], dtype=np.int64), tuple(ordered)


def _named_labels(cells: Sequence[str], labels: str, where: object, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    names = dict.fromkeys(cells)
    unknown = [name for name in names if not is_emotion(name)]
    as_they_stand = " To train on the names as they stand, in sorted order: --data.labels own."
    if len(unknown) > 1:
        raise UserError(
            f"{where}: {count(unknown, what)} that name no emotion: {shown(unknown, 6)}. "
            f"Known: {', '.join(EMOTIONS)}; their English and Korean names work too.{as_they_stand}"
        )
    try:
        keys = {name: canonical(name) for name in names}
    except UserError as error:
        raise UserError(f"{where}: {error}{as_they_stand}") from None
    found = set(keys.values())
    label_names = tuple(key for key in EMOTIONS if key in found) if labels == "auto" else label_set(labels)
    outside = [name for name, key in keys.items() if key not in label_names]
    if outside:
        raise UserError(
            f"{where}: {count(outside, what)} outside the label set {labels}: {shown(outside, 6)}. "
            f"It has {', '.join(label_names)}. Choose another with --data.labels, or auto."
        )
    return np.array([label_names.index(keys[cell]) for cell in cells], dtype=np.int64), label_names
