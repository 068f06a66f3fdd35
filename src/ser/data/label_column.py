"""Which column of a CSV holds the labels, and from what is written there, or from the names of folders, to label numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from ser.data.csv_input import CsvInput, count, is_missing, shown
from ser.data.labels import EMOTIONS, canonical, describe_order, is_emotion, label_set
from ser.runtime.errors import UserError

LABEL_COLUMNS = ("label", "emotion")
"""What the column of labels may be called."""
LIST_SEPARATOR = re.compile(r"[|,;]")
"""Between the labels of a list, where a clip may have several."""
OF_ONE_LABEL = re.compile(r"(?:label|votes|p)_(.+)", re.IGNORECASE)
"""The name of a column that is of one label alone."""
OWN = "own"
"""The label set that is what the data holds."""
_BETWEEN = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"[+-]?[\d.,]+")
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
        hint = list_hint(cells) or "fill them in or take the rows out."
        raise UserError(f"{where}: {count(empty, 'row')} without a label: {shown(empty)}; {hint}")
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
        if hint := list_hint([cell for cell, match in zip(cells, integers, strict=True) if not match]):
            raise UserError(f"{where}: {hint}")
        mixed = [cell for cell, match in zip(cells, integers, strict=True) if not match]
        raise UserError(f"{where}: some labels are integers, others are not: {shown(dict.fromkeys(mixed))}. Use one kind.")
    return _named_labels(cells, labels, where, what)


def list_hint(cells: Iterable[str], several: bool = False) -> str | None:
    """What to say where one of the cells holds several labels: with what between, and what is allowed there; else None.

    several: whether a clip may have several (data.multi_label).
    """
    for cell in map(str.strip, cells):
        parts = _BETWEEN.split(cell)
        if len(parts) > 1 and not _NUMBER.fullmatch(cell) and all(INTEGER.fullmatch(part) or is_emotion(part) for part in parts):
            separator = _BETWEEN.search(cell)[0].strip() or "a space"
            seen = f"given {cell}, which is {len(parts)} labels with {separator} between"
            allowed = "|, a comma or ; between them, as in joy|sadness"
            if several:
                return f"{seen}; allowed is {allowed}."
            return f"{seen}. Give each clip one label; where clips may have several, set --data.multi_label true, and write {allowed}."
    return None


def label_numbers(cells: Sequence[str], label_names: Sequence[str], where: object) -> np.ndarray:
    """The numbers (n,) of labels whose order is known: numbers, or names in any alias. Raises UserError for any other label."""
    place = {name: number for number, name in enumerate(label_names)}
    place |= {str(number): number for number in range(len(label_names)) if str(number) not in place}
    keys = [cell if cell in place or not is_emotion(cell) else canonical(cell) for cell in map(str.strip, cells)]
    if unknown := [key for key in keys if key not in place]:
        raise UserError(f"{where}: {count(unknown, 'label')} unknown to the model: {shown(unknown)}. It has {', '.join(label_names)}.")
    return np.array([place[key] for key in keys], dtype=np.int64)


def written_labels(source: CsvInput) -> list[str]:
    """Everything a table has in its columns of labels: their cells, and the labels that columns (label_sad, votes_sad) are named after."""
    columns = [match[1] for name in source.header if (match := OF_ONE_LABEL.fullmatch(name))]
    return [*(source.column(*LABEL_COLUMNS) or ()), *columns]


def renamed(written: Iterable[str], label_names: Sequence[str]) -> dict[str, str]:
    """{name as written: label it was taken for}, in lists too, where these differ in more than their case: joy is happy."""
    names = dict.fromkeys(part.strip() for cell in written for part in LIST_SEPARATOR.split(cell))
    keys = {name: canonical(name) for name in names if name not in label_names and is_emotion(name)}
    return {name: key for name, key in keys.items() if key in label_names and key != name.casefold()}


def _own_labels(cells: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The names as they stand, sorted; numbers by their size."""
    names = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
    ordered = sorted(set(names), key=int if all(map(INTEGER.fullmatch, names)) else None)
    return np.array([ordered.index(name) for name in names], dtype=np.int64), tuple(ordered)


def _named_labels(cells: Sequence[str], labels: str, where: object, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    names = dict.fromkeys(cells)
    unknown = [name for name in names if not is_emotion(name)]
    if hint := list_hint(unknown):
        raise UserError(f"{where}: {hint}")
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
