"""Reading a CSV that somebody else made: its encoding, its columns, and what can be wrong with it.

Everything stays text, exactly as written (an id `0012` keeps its zeros); what a cell means is for the caller to say.
"""

from __future__ import annotations

import csv
import difflib
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser.runtime.errors import UserError

# What pandas, Excel and databases write for "no value"; compared in lower case without blanks around it.
MISSING = {"", "nan", "na", "n/a", "<na>", "null", "none", "#n/a"}


@dataclass(frozen=True)
class CsvInput:
    """A CSV in memory: its path, its header as written, and its cells as text, row by row."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, *names: str) -> tuple[str, ...] | None:
        """The cells of the first of these columns that is there (in any case), or None."""
        found = [_fold(name) for name in self.header]
        for name in names:
            if found.count(name) > 1:
                raise UserError(f"{self.path}: there are {found.count(name)} columns named {name}; keep one.")
            if name in found:
                position = found.index(name)
                return tuple(row[position] for row in self.rows)
        return None

    def required(self, *names: str) -> tuple[str, ...]:
        """Like `column`, but its absence is a UserError that lists what was found and what is needed."""
        cells = self.column(*names)
        if cells is not None:
            return cells
        near = [close for name in names for close in difflib.get_close_matches(name, [_fold(cell) for cell in self.header], 1, 0.6)]
        hint = f" Is {near[0]} meant? Then rename it to {names[0]}." if near else ""
        raise UserError(
            f"{self.path}: no column {' or '.join(names)}. The first line has {shown(self.header, 8)}; "
            f"it must be a header, separated by commas.{hint}"
        )


def read_csv_input(path: Path) -> CsvInput:
    """Read a CSV in UTF-8 (with or without BOM) or cp949. Blank lines are skipped.

    Raises UserError when it can't be decoded, has no rows, or has a row with more or fewer cells than the header.
    """
    reader = csv.reader(io.StringIO(decode_text(path), newline=""), strict=True)
    lines: list[tuple[str, ...]] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if lines and len(cells) != len(lines[0]):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(lines[0])}. "
                    "A cell with a comma in it must stand in double quotes."
                )
            lines.append(tuple(cells))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a readable CSV ({error}).") from None
    if len(lines) < 2:
        raise UserError(f"{path}: {'no rows under the header' if lines else 'the file is empty'}.")
    return CsvInput(path, lines[0], tuple(lines[1:]))


def decode_text(path: Path) -> str:
    """The text of a file in UTF-8 (with or without BOM) or cp949. Raises UserError."""
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: not text in UTF-8 or cp949. Save it as UTF-8 (a spreadsheet file such as .xlsx can't be read).")


def is_missing(cell: str) -> bool:
    """Whether a cell says "no value": empty, NaN, null and the like."""
    return cell.strip().casefold() in MISSING


def check_ids(ids: Sequence[str], path: Path) -> None:
    """Raise UserError for empty, duplicate and damaged ids."""
    empty = [f"row {row}" for row, name in enumerate(ids, start=1) if not name.strip()]
    if empty:
        raise UserError(f"{path}: {count(empty, 'row')} without an id: {shown(empty)}. Every row needs one.")
    damaged = [name for name in ids if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)]
    if damaged:
        raise UserError(f"{path}: {count(damaged, 'id')} with control characters (line ends, tabs, NUL): {shown(damaged)}.")
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise UserError(f"{path}: {count(twice, 'id')} more than once: {shown(twice)}. Every clip needs an id of its own.")


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


def _fold(name: str) -> str:
    return name.strip().casefold()


def read_transcripts(path: str | Path) -> dict[str, str]:
    """The text of each id, from a CSV `id,text` (UTF-8, with or without BOM, or cp949); empty texts stay empty.

    Raises UserError for missing columns and for empty, damaged or repeated ids.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    table = read_csv_input(path)
    ids, texts = table.required("id"), table.required("text", "transcript", "sentence")
    check_ids(ids, path)
    return {name: " ".join(text.split()) for name, text in zip(ids, texts, strict=True)}
