"""The sample submission, whose form a submission must have: training looks at it first, the ensemble fills it in, by the same code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.data.csv_input import CsvInput, check_ids, is_missing, read_csv_input, shown
from ser.data.label_column import INTEGER, LABEL_COLUMNS
from ser.data.labels import canonical, is_emotion, korean
from ser.runtime.errors import UserError


@dataclass(frozen=True)
class Sample:
    """A sample submission whose ids are those of the test clips. names: how it writes each label; None where it writes their numbers."""

    source: CsvInput
    ids: tuple[str, ...]
    names: tuple[str, ...] | None

    def filled(self, test_ids: Sequence[str], predicted: np.ndarray) -> pd.DataFrame:
        """The submission: the sample's rows and columns, and the labels predicted (M,), one number for each test id."""
        numbers = predicted[pd.Index(test_ids).get_indexer(pd.Index(self.ids))]
        table = pd.DataFrame(self.source.rows, columns=list(self.source.header), dtype=object)
        labels = numbers if self.names is None else np.array(self.names, dtype=object)[numbers]
        table.isetitem(self.source.position("label"), labels)
        return table


def read_sample(path: Path, test_ids: Sequence[str], label_names: Sequence[str], test: str) -> Sample:
    """Read and check a sample submission `id,label`. Other columns are kept. test: what to call the test clips.

    Raises UserError when its columns, ids or labels don't match. Without label_names, the labels aren't looked at.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    source = read_csv_input(path)
    ids, labels = source.required("id"), source.required("label")
    if source.position("id") > source.position("label"):
        raise UserError(f"{path} has the columns {shown(source.header, 8)}; a sample submission has id, label.")
    check_ids(ids, source)
    lacking, extra = sorted(set(test_ids) - set(ids)), sorted(set(ids) - set(test_ids))
    if lacking or extra:
        parts = [f"{len(names)} {what} ({shown(names)})" for names, what in ((lacking, "missing"), (extra, "too many")) if names]
        raise UserError(f"the ids in {path} don't match {test}: {' and '.join(parts)}. Take all files from the same download.")
    return Sample(source, ids, _spelling(path, labels, label_names) if label_names else None)


def _spelling(path: Path, labels: Sequence[str], label_names: Sequence[str]) -> tuple[str, ...] | None:
    """How the sample writes each label; None for numbers, which `0.0` is too, and which an empty column asks for."""
    written = [cell.strip() for cell in labels if not is_missing(cell)]
    numbers = [match and int(match[1]) for match in map(INTEGER.fullmatch, written)]
    if None not in numbers:
        if set(map(str, numbers)) <= set(label_names):  # labels of the data's own that are numbers
            return tuple(label_names) if numbers else None
        if wrong := [number for number in numbers if not 0 <= number < len(label_names)]:
            raise UserError(
                f"{path} shows the label {wrong[0]}, but the runs know 0 to {len(label_names) - 1} "
                f"({', '.join(label_names)}). Is it the sample of another competition?"
            )
        return None
    as_written = {_key(name, label_names): name for name in reversed(_train_labels(path) + written)}
    unknown = sorted({name for name in written if _key(name, label_names) not in label_names})
    if unknown:
        raise UserError(f"{path} shows the label {unknown[0]!r}; the runs' labels are {', '.join(label_names)} (or their numbers).")
    as_they_stand = set(written) <= set(label_names)
    return tuple(as_written.get(name) or (name if as_they_stand else _in_style_of(written[0], name)) for name in label_names)


def _train_labels(sample: Path) -> list[str]:
    """The labels as the train.csv beside the sample writes them; none where it isn't there."""
    path = sample.with_name("train.csv")
    cells = read_csv_input(path).column(*LABEL_COLUMNS) if path.is_file() else None
    return [cell.strip() for cell in dict.fromkeys(cells or ()) if not is_missing(cell)]


def _key(name: str, label_names: Sequence[str]) -> str:
    return name if name in label_names or not is_emotion(name) else canonical(name)


def _in_style_of(example: str, name: str) -> str:
    """A label that neither the sample nor train.csv shows, in the language and the capitals of one that is shown."""
    if any("가" <= letter <= "힣" for letter in example):
        return korean(name)
    return name.title() if example.istitle() else name.upper() if example.isupper() else name
