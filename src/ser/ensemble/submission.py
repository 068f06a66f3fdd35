"""The submission file: exactly the sample's ids and order, or nothing (training itself writes none)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ser.data.sample_submission import read_sample
from ser.inference.runs import Run
from ser.runtime.errors import UserError


def find_sample(runs: Sequence[Run], given: str | Path | None) -> Path:
    """The sample submission: the one given, or sample_submission.csv in the data folder a run was trained on."""
    if given is not None:
        return Path(given)
    tried = []
    for run in runs:
        tried.append(_data_root(run.folder / "config.yaml") / "sample_submission.csv")
        if tried[-1].is_file():
            return tried[-1]
    where = f" at {', '.join(map(str, dict.fromkeys(tried)))}"
    raise UserError(f"no sample submission found{where}. Name it with --sample FILE.")


def _data_root(config: Path) -> Path:
    # Only this key is read: a run of an older version, whose other keys have changed since, can still be blended.
    try:
        return Path(yaml.safe_load(config.read_text(encoding="utf-8"))["data"]["root"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{config} doesn't say where the data is (data.root). Name the sample submission with --sample FILE.") from None


def make_submission(sample: Path, test_ids: Sequence[str], predicted: np.ndarray, label_names: Sequence[str]) -> pd.DataFrame:
    """The submission: the sample's ids in its order, its columns, and labels in the way it shows them (numbers, or names).

    predicted: (M,) label numbers, one per test id. Raises UserError when the sample's columns, ids or labels don't match.
    """
    return read_sample(sample, test_ids, label_names, "the test clips of the runs").filled(test_ids, predicted)
