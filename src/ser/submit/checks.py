"""A submission before it is sent: the file, its record, and the sample whose form it must have."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ser.data.csv_input import CsvInput, read_csv_input, shown
from ser.data.sample_submission import read_sample
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.metrics import describe


@dataclass(frozen=True)
class Submission:
    """A checked file: its bytes, their SHA-256, the record that `ser.ensemble` wrote beside it, and how often it gives each label."""

    path: Path
    content: bytes
    sha256: str
    record: dict
    labels: dict[str, int]

    @property
    def oof(self) -> dict:
        """The out-of-fold scores of the blend."""
        return self.record["oof"]

    def told(self) -> str:
        """What would be sent, as text."""
        runs = ", ".join(run["run"] for run in self.record["runs"])
        lines = [
            f"{self.path}: {sum(self.labels.values())} rows, sha256 {self.sha256[:12]}…, {self.record['method']} of {runs}",
            f"out-of-fold: {describe(self.oof)}",
            f"  ({self.record['estimate']})",
            "labels given: " + ", ".join(f"{label} {count}" for label, count in self.labels.items()),
        ]
        return "\n".join([*lines, *(f"warning: {line}" for line in self.record["warnings"])])


def read_submission(path: Path, sample: str | None = None) -> Submission:
    """Read and check a submission. sample: the sample submission, by default the one named in the record.

    Raises UserError where the record is missing, the file is no longer what the record is of, or it hasn't the sample's ids, order and
    labels.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. A submission is what `python -m ser.ensemble` writes, e.g. submissions/base.csv.")
    content, record = path.read_bytes(), _record(path.with_suffix(".json"))
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != record["sha256"]:
        raise UserError(
            f"{path} isn't the file that {path.with_suffix('.json')} is the record of: it was changed since. Blend again; a file whose "
            "score nobody knows isn't sent."
        )
    if not record["test_clips"]:
        raise UserError(f"{path} holds out-of-fold probabilities, as its runs have no test clips: there is nothing to send.")
    source = read_csv_input(path)
    _check_form(source, Path(sample or record["sample"]), record["label_names"])
    return Submission(path, content, sha256, record, dict(sorted(Counter(source.required("label")).items())))


def _record(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"{path}: no such file. It is the record that `python -m ser.ensemble` writes beside a submission.")
    try:
        record = read_json(path)
        missing = {"sha256", "oof", "runs", "method", "estimate", "warnings", "label_names", "test_clips", "sample"} - record.keys()
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} can't be read: {error}. Blend again.") from None
    if missing:
        raise UserError(f"{path} lacks {shown(sorted(missing))}: it was written by an older version. Blend again.")
    return record


def _check_form(source: CsvInput, sample_path: Path, label_names: list[str]) -> None:
    ids = source.required("id")
    if not sample_path.is_file():
        raise UserError(f"{sample_path}: the sample submission isn't there any more. Name it with --sample FILE.")
    sample = read_sample(sample_path, ids, label_names, str(source.path))
    if source.header != sample.source.header or ids != sample.ids:
        raise UserError(f"{source.path} hasn't the columns and the order of {sample_path}. Blend again.")
    allowed = set(sample.names or map(str, range(len(label_names))))
    if wrong := sorted(set(source.required("label")) - allowed):
        raise UserError(f"{source.path} has the label {shown(wrong)}; allowed are {shown(sorted(allowed), len(allowed))}. Blend again.")
