"""The submission file: exactly the sample's ids and order, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ser.inference.runs import Run, check_same_ids, read_csv
from ser.runtime.errors import UserError

COLUMNS = ["id", "label"]


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
    """The submission as a table `id,label`: the sample's ids in its order, labels as integers.

    predicted: (M,) label numbers, one per test id. Where the sample shows label names instead of numbers, names are
    written. Raises UserError when the sample's columns, ids or labels don't match.
    """
    table = read_csv(sample)
    if list(table.columns) != COLUMNS:
        raise UserError(f"{sample} has the columns {', '.join(table.columns)}; a sample submission has id, label.")
    if table["id"].duplicated().any():
        raise UserError(f"{sample}: the id {table['id'][table['id'].duplicated()].iloc[0]} is there more than once.")
    check_same_ids(table["id"], test_ids, str(sample), "the test clips of the runs")
    numbers = predicted[pd.Index(test_ids).get_indexer(pd.Index(table["id"]))]
    labels = np.asarray(label_names, dtype=object)[numbers] if _shows_names(table["label"], sample, label_names) else numbers
    return pd.DataFrame({"id": table["id"], "label": labels})


def _shows_names(shown: pd.Series, sample: Path, label_names: Sequence[str]) -> bool:
    filled = {text.strip() for text in shown if text.strip()}
    if all(re.fullmatch(r"-?[0-9]{1,9}", text) for text in filled):
        out_of_range = [text for text in filled if not 0 <= int(text) < len(label_names)]
        if out_of_range:
            raise UserError(
                f"{sample} shows the label {out_of_range[0]}, but the runs know 0 to {len(label_names) - 1} "
                f"({', '.join(label_names)}). Is it the sample of another competition?"
            )
        return False
    unknown = sorted(filled - set(label_names))
    if unknown:
        raise UserError(f"{sample} shows the label {unknown[0]!r}; the runs' labels are {', '.join(label_names)} (or their numbers).")
    return True
