"""Which runs there are to look at: finished ones over the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ser.runtime.errors import UserError
from ser.runtime.files import read_json


def finished_runs(outputs: str | Path, given: Sequence[str | Path] = ()) -> list[Path]:
    """The runs that are given; or those below `outputs` that are finished and over the newest one's labelled clips, newest first.

    Raises UserError where there is none.
    """
    if given:
        return [Path(folder) for folder in given]
    reports = sorted(Path(outputs).glob("*/report.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    data = {file.parent: read_json(file.parent / "data.json") for file in reports if (file.parent / "data.json").is_file()}
    if not data:
        raise UserError(f"no finished run in {outputs}. Make one: `bash train.sh` trains on demo data, a few minutes on any machine.")
    newest = _clips(next(iter(data.values())))
    return [folder for folder, facts in data.items() if _clips(facts) == newest]


def _clips(data: dict) -> tuple:
    return data["label_names"], sorted((clip["id"], clip["label"]) for clip in data["train"])
