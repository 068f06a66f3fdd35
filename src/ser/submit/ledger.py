"""submissions/ledger.csv: every submission that was begun, written before the site is called, what came of it, and which bytes
count as sent already.

Two processes can't both find that a file wasn't sent yet: looking and writing happen under one lock. A row whose state is `sending`
and whose process has gone (a kill, a power cut) is what it looks like: nobody knows whether it arrived. So is `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pandas as pd

from ser.inference.runs import read_csv
from ser.report.tables import without_formulas
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_path, locked
from ser.submit.sites import SITES

COLUMNS = (
    "number", "time", "to", "competition", "file", "sha256", "oof_accuracy", "oof_low", "oof_high", "n", "message", "state",
    "answered", "answer",
)  # fmt: skip
STATES = ("sending", "accepted", "refused", "not_sent", "unknown")
"""sending: begun, no answer yet. accepted, refused: what the site said. not_sent: it was never reached. unknown: nobody knows."""
OPEN = ("sending", "unknown")
COUNTED = ("accepted", *OPEN)
"""What counts for the day's limit, and can't be sent again."""


class Ledger:
    """The rows under the ledger's lock: changed by `add` and `answer`, which are on disk when they return."""

    SCORES: ClassVar = {"oof_accuracy": "accuracy", "oof_low": "accuracy_low", "oof_high": "accuracy_high"}

    def __init__(self, path: Path, table: pd.DataFrame) -> None:
        self.path, self.table = path, table

    def of(self, site: str, competition: str) -> pd.DataFrame:
        """The rows of one competition."""
        return self.table[(self.table["to"] == site) & (self.table["competition"] == competition)]

    def same_bytes(self, site: str, competition: str, sha256: str) -> pd.DataFrame:
        """The rows in which these bytes arrived, or may have."""
        rows = self.of(site, competition)
        return rows[(rows["sha256"] == sha256) & rows["state"].isin(COUNTED)]

    def today(self, site: str, competition: str, now: datetime) -> int:
        """How many of the site's day have arrived, or may have."""
        rows = self.of(site, competition)
        days = [SITES[site].day(datetime.fromisoformat(time)) for time in rows[rows["state"].isin(COUNTED)]["time"]]
        return days.count(SITES[site].day(now))

    def add(self, **row: object) -> str:
        """Write a new row, whose state is `sending`; returns its number."""
        number = str(1 + max(map(int, self.table["number"]), default=0))
        new = {name: str(row.get(name, "")) for name in COLUMNS} | {"number": number, "time": now_as_text(), "state": "sending"}
        self.table = pd.concat([self.table, pd.DataFrame([new], dtype=object)], ignore_index=True)
        self._write()
        return number

    def answer(self, number: str, state: str, answer: str) -> None:
        """Write what came of a row."""
        row = self.table["number"] == number
        self.table.loc[row, ["state", "answered", "answer"]] = [state, now_as_text(), " ".join(answer.split())]
        self._write()

    def _write(self) -> None:
        with atomic_path(self.path) as temporary:
            without_formulas(self.table).to_csv(temporary, index=False, lineterminator="\n")


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger, locked for the length of the block; a new one where there is none. Raises UserError for one that was damaged."""
    with locked(path.with_name(f".{path.name}.lock")):
        yield Ledger(path, _read(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS), dtype=object))


def now_as_text() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(path: Path) -> pd.DataFrame:
    table = read_csv(path)
    wrong = list(table.columns) != list(COLUMNS)
    if not wrong:
        try:
            known = set(table["state"]) <= set(STATES) and table["number"].astype(int).is_unique
            wrong = not known or any(datetime.fromisoformat(time).tzinfo is None for time in table["time"])
        except ValueError:
            wrong = True
    if wrong:
        raise UserError(
            f"{path} isn't as this command writes it (columns {', '.join(COLUMNS)}; states {', '.join(STATES)}). Without it nobody "
            "knows what was sent: repair it, or move it away if nothing was."
        )
    return table
