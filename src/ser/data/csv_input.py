"""Reading a CSV that somebody else made, as Excel, pandas or an editor left it; ids that are missing, damaged or there twice are refused.

Everything stays text, as written (an id `0012` keeps its zeros), but for signs that nobody can see; what a cell means is for the caller
to say. Rows have the numbers a spreadsheet shows: the header is row 1, and blank rows count.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ser.data.text_input import decode_text, visible
from ser.runtime.errors import UserError

# What pandas, Excel and databases write for "no value"; compared in lower case without blanks around it.
MISSING = {"", "nan", "na", "n/a", "<na>", "null", "none", "#n/a"}
DELIMITERS = ",;\t"
INDEX = re.compile(r"(unnamed: ?[0-9]+\w*)?", re.IGNORECASE)
"""The name of a column that holds only the row numbers of pandas."""


@dataclass(frozen=True)
class CsvInput:
    """A CSV in memory: its path, its header, its cells as text, row by row, and the number of each row in a spreadsheet."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]

    def column(self, *names: str) -> tuple[str, ...] | None:
        """The cells of the first of these columns that is there (in any case), or None."""
        position = self.position(*names)
        return None if position is None else tuple(row[position] for row in self.rows)

    def position(self, *names: str) -> int | None:
        """Where the first of these columns is that is there (in any case), or None."""
        found = [name.casefold() for name in self.header]
        for name in names:
            if found.count(name) > 1:
                raise UserError(f"{self.path}: there are {found.count(name)} columns named {name}; keep one.")
            if name in found:
                return found.index(name)
        return None

    def required(self, *names: str) -> tuple[str, ...]:
        """Like `column`, but its absence is a UserError that lists what was found and what is needed."""
        cells = self.column(*names)
        if cells is not None:
            return cells
        near = [close for name in names for close in difflib.get_close_matches(name, [cell.casefold() for cell in self.header], 1, 0.6)]
        hint = f" Is {near[0]} meant? Then rename it to {names[0]}." if near else ""
        if "label" in names and sum(cell.casefold().startswith("label_") for cell in self.header) > 1:
            hint = " Do columns label_… say which of several labels a row has? Then set --data.multi_label true."
        raise UserError(
            f"{self.path}: no column {' or '.join(names)}. The first line has {shown(self.header, 8)}; "
            f"it must be a header, separated by commas.{hint}"
        )

    def rows_where(self, wrong: Iterable[bool]) -> list[str]:
        """`row 13` for each row of which `wrong` is true."""
        return [f"row {number}" for number, flag in zip(self.numbers, wrong, strict=True) if flag]


def read_csv_input(path: Path) -> CsvInput:
    """Read a CSV in UTF-8, UTF-16 with its mark, or cp949, separated by commas, semicolons or tabs.

    Left out are rows without content (at most the row number of pandas), Excel's line `sep=;`, and what follows the end-of-file sign
    (Ctrl-Z, NUL). Raises UserError when it can't be decoded, has no rows, or has a row with more or fewer cells than the header.
    """
    text = re.sub(r"[\x00\x1a][\x00\x1a\s]*\Z", "", visible(decode_text(path)))
    announced = re.match(r'"?sep=([^"\r\n])"?[\s,;]*?(\r\n|\r|\n)', text, re.IGNORECASE)
    text, above = (text[announced.end() :], 1) if announced else (text, 0)
    records = _records(path, text, announced[1] if announced else _delimiter(text), above)
    if not records:
        raise UserError(f"{path}: the file is empty.")
    header = tuple(cell.strip() for cell in records[0].cells)
    least = _least(records, header)
    content = [(record.row, _fitted(record, header, least, path)) for record in records[1:]]
    named = [place for place, name in enumerate(header) if not INDEX.fullmatch(name)]
    content = [(row, cells) for row, cells in content if any(not _is_blank(cells[place]) for place in named)]
    if not content:
        raise UserError(f"{path}: no rows under the header.")
    numbers, rows = zip(*content, strict=True)
    return CsvInput(path, header, rows, numbers)


class _Record(NamedTuple):
    row: int  # as a spreadsheet counts
    line: int  # the last one it stands in, as an editor counts
    cells: tuple[str, ...]


def _records(path: Path, text: str, delimiter: str, above: int) -> list[_Record]:
    """The rows with content, the header among them. above: lines of the file before the text."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        records = [_Record(row, reader.line_num + above, tuple(cells)) for row, cells in enumerate(reader, start=1)]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num + above}: not a readable CSV ({error}).") from None
    return [record for record in records if not all(map(_is_blank, record.cells))]


def _least(records: Sequence[_Record], header: Sequence[str]) -> int:
    """The fewest cells a row may have: Excel leaves out the delimiters at the end of some rows where the last columns are empty."""
    return max((_filled(record.cells) for record in records[1:] if len(record.cells) >= len(header)), default=len(header))


def _fitted(record: _Record, header: Sequence[str], least: int, path: Path) -> tuple[str, ...]:
    """The record's cells, as many as the header's: what Excel left out is filled up, empty cells beyond are cut off."""
    if len(record.cells) < least or _filled(record.cells) > len(header):
        row = f" (row {record.row} of a spreadsheet)" if record.row != record.line else ""
        raise UserError(
            f"{path}, line {record.line}{row}: {len(record.cells)} cells where the header has {len(header)}. "
            "A cell with a comma in it must stand in double quotes."
        )
    return (*record.cells, *[""] * len(header))[: len(header)]


def _delimiter(text: str) -> str:
    """The one that the first line with content has most of, outside of quotes; a comma where it has none."""
    first = next((line for line in re.split(r"\r\n|\r|\n", text) if line.strip(DELIMITERS + '" ')), "")
    return max(DELIMITERS, key=re.sub(r'"[^"]*"', "", first).count)


def _is_blank(cell: str) -> bool:
    return not cell.strip(" \t\r\n\xa0\x00\x1a")


def _filled(cells: Sequence[str]) -> int:
    """The number of cells up to the last that isn't blank."""
    return max((place for place, cell in enumerate(cells, start=1) if not _is_blank(cell)), default=0)


def is_missing(cell: str) -> bool:
    """Whether a cell says "no value": empty, NaN, null and the like."""
    return cell.strip().casefold() in MISSING


def as_text(cell: str) -> str:
    """What is said in a clip, "" where the cell says that nobody knows; runs of blanks as one."""
    return "" if is_missing(cell) else " ".join(cell.split())


def check_ids(ids: Sequence[str], source: CsvInput) -> None:
    """Raise UserError for empty, duplicate and damaged ids."""
    empty = source.rows_where(not name.strip() for name in ids)
    if empty:
        raise UserError(f"{source.path}: {count(empty, 'row')} without an id: {shown(empty)}. Every row needs one.")
    damaged = [name for name in ids if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)]
    if damaged:
        raise UserError(f"{source.path}: {count(damaged, 'id')} with control characters (line ends, tabs, NUL): {shown(damaged)}.")
    check_unique(ids, source.path)


def check_unique(ids: Sequence[str], source: Path) -> None:
    """Raise UserError for ids that several clips have."""
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise UserError(f"{source}: {count(twice, 'id')} more than once: {shown(twice)}. Every clip needs an id of its own.")


def shown(values: Iterable[object], most: int = 3) -> str:
    """The first few values for a message, each cut to a readable length."""
    values = [str(value) for value in values]
    # What can't be printed (a line end, half of a surrogate pair) is escaped, so that a message is one clean line.
    texts = [value if value.isprintable() else value.encode("unicode_escape", "surrogatepass").decode() for value in values[:most]]
    texts = [text if len(text) <= 60 else f"{text[:57]}..." for text in texts]
    return ", ".join(text or "(empty)" for text in texts) + (f" and {len(values) - most} more" if len(values) > most else "")


def count(values: Sequence[object], noun: str) -> str:
    """`3 rows`, `1 row`."""
    return f"{len(values)} {noun}{'' if len(values) == 1 else 's'}"


def read_transcripts(path: str | Path) -> dict[str, str]:
    """The text of each id, from a CSV `id,text` ; empty texts stay empty, and null, NaN and the like are none.

    Raises UserError for missing columns and for empty, damaged or repeated ids.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    table = read_csv_input(path)
    ids, texts = table.required("id"), table.required("text", "transcript", "sentence")
    check_ids(ids, table)
    return {name: as_text(text) for name, text in zip(ids, texts, strict=True)}
