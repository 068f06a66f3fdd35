"""Models of a run that were trained on all its training clips: no clip is left to judge them by, only the test set is theirs to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.inference.runs import FULL_FIT, Run, read_probabilities, read_run
from ser.runtime.errors import UserError
from ser.runtime.files import read_json


@dataclass(frozen=True)
class FullFit:
    """run: the one it belongs to, which says what it was made from. epoch: how long it was trained. test: (M, C), as in the run."""

    folder: Path
    run: Run
    epoch: int
    test: np.ndarray


def is_full_fit(folder: str | Path) -> bool:
    """Whether the folder's name says that it holds such a model."""
    return Path(folder).resolve().name == FULL_FIT


def read_full_fit(folder: str | Path) -> FullFit:
    """Read and check outputs/X/full_fit. Raises UserError where it, or its run, isn't whole, or has no test clips."""
    folder = Path(folder)
    if not (folder / "metrics.json").is_file():
        raise UserError(f"{folder}: no finished full fit. `python -m ser.train` makes it after the folds with --cv.full_fit true.")
    run = read_run(folder.resolve().parent)
    if not run.test_ids:
        raise UserError(f"{folder} has predicted nothing: its run has no test clips, and it was trained on all others. Leave it out.")
    test = read_probabilities(folder / "test.csv", run.test_ids, run.label_names)
    return FullFit(folder, run, int(read_json(folder / "metrics.json")["epoch"]), test)
