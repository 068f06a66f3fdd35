"""The members of a blend: runs over the same clips and labels, aligned by clip id. The runs of several seeds are one member, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.data.csv_input import count, shown
from ser.inference.full_fits import FullFit, is_full_fit, read_full_fit
from ser.inference.runs import Run, check_same_ids, read_run
from ser.inference.same_clips import different_clips
from ser.inference.seed_runs import SeedRuns, read_seeds, seed_folders
from ser.inference.unfinished import GO_ON, unfinished
from ser.runtime.errors import UserError
from ser.runtime.progress import ProgressBar


@dataclass(frozen=True)
class Members:
    """R runs over n common training clips and M test clips with C labels; rows in the order of the first run.

    Beside them F models of all clips, which have test predictions and nothing to be judged by.
    """

    runs: tuple[Run, ...]
    ids: tuple[str, ...]
    labels: np.ndarray  # (n,)
    speakers: tuple[str, ...] | None  # (n,)
    folds: np.ndarray  # (R, n): the fold of each clip in each run
    oof: np.ndarray  # (R, n, C)
    test_ids: tuple[str, ...]
    test: np.ndarray  # (R + F, M, C): each run's mean over its folds, then those of all clips
    seeds: tuple[tuple[Run, ...], ...]  # (R): of a member that averages several seeds its runs, else ()
    full_fits: tuple[FullFit, ...]  # (F)

    @property
    def same_folds(self) -> bool:
        """Whether all runs split the clips alike."""
        return bool((self.folds == self.folds[0]).all())


def read_members(folders: Sequence[str | Path], allow_missing_folds: bool = False) -> Members:
    """Read the runs and align them by id.

    Training clips are those that every run has predicted out of fold (all, unless folds are missing or clips dropped).
    Raises UserError when a run is given twice or incomplete (see `read_run`), or when label sets, ids or data differ.
    """
    places = [Path(folder).resolve() for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder} is given more than once, which would double its weight. Name each run once.")
    runs, seeds, full_fits = [], [], []
    for folder in ProgressBar(folders, "reading runs"):
        if is_full_fit(folder):
            full_fits.append(read_full_fit(folder))
            continue
        several = _read_seeds(folder, allow_missing_folds) if seed_folders(folder) else None
        runs.append(several.average if several else read_run(folder, allow_missing_folds))
        seeds.append(several.runs if several and len(several.runs) > 1 else ())
    if not runs:
        raise UserError(
            f"{full_fits[0].folder} was trained on all clips: nothing would say what the submission scores. Name its run beside it."
        )
    for run in [*runs[1:], *(full.run for full in full_fits)]:
        _check_same_data(runs[0], run)

    common = [name for row, name in enumerate(runs[0].ids) if runs[0].predicted[row]]
    for run in runs[1:]:
        have = {name for row, name in enumerate(run.ids) if run.predicted[row]}
        common = [name for name in common if name in have]
    if not common:
        raise UserError("no training clip has an out-of-fold prediction from every run, so they can't be compared. Finish more folds.")
    rows = [pd.Index(run.ids).get_indexer(pd.Index(common)) for run in runs]
    tests = [(run.test_ids, run.test) for run in runs] + [(full.run.test_ids, full.test) for full in full_fits]
    # Speakers are a property of the clips: one run that knows them is enough.
    speaker_of = next((dict(zip(run.ids, run.speakers, strict=True)) for run in runs if run.speakers), None)
    return Members(
        runs=tuple(runs),
        ids=tuple(common),
        labels=runs[0].labels[rows[0]],
        speakers=tuple(speaker_of[name] for name in common) if speaker_of else None,
        folds=np.stack([run.fold_of[chosen] for run, chosen in zip(runs, rows, strict=True)]),
        oof=np.stack([run.oof[chosen] for run, chosen in zip(runs, rows, strict=True)]),
        test_ids=runs[0].test_ids,
        test=np.stack([test[pd.Index(ids).get_indexer(pd.Index(runs[0].test_ids))] for ids, test in tests]),
        seeds=tuple(seeds),
        full_fits=tuple(full_fits),
    )


def _read_seeds(folder: str | Path, allow_missing_folds: bool) -> SeedRuns:
    if not allow_missing_folds and (missing := unfinished(folder)):
        raise UserError(f"{missing}. {GO_ON}; --allow_missing_folds of `ser.ensemble` and `ser.bundle` takes what is there.")
    return read_seeds(folder, allow_missing_folds)


def _check_same_data(first: Run, other: Run) -> None:
    both = f"{first.folder} and {other.folder}"
    if first.label_names != other.label_names:
        raise UserError(
            f"{both} have different labels or another order of them: {', '.join(first.label_names)} against "
            f"{', '.join(other.label_names)}. Only runs over one label set can be blended."
        )
    check_same_ids(other.test_ids, first.test_ids, f"the test clips of {other.folder}", f"those of {first.folder}")
    check_same_ids(_train_ids(other), _train_ids(first), f"the training clips of {other.folder}", f"those of {first.folder}")
    truth = dict(zip(first.ids, first.labels.tolist(), strict=True))
    changed = [name for name, label in zip(other.ids, other.labels.tolist(), strict=True) if truth.get(name, label) != label]
    if changed:
        raise UserError(f"{both} give {len(changed)} training clips different labels, first {changed[0]}. Train both on the same data.")
    if changed := different_clips(first, other):
        raise UserError(
            f"{both} were trained on different data: the ids are the same, but {count(changed, 'clip')} of them had other contents "
            f"({shown(changed)}). Train both on the same files."
        )


def _train_ids(run: Run) -> list[str]:
    return [*run.ids, *(clip["id"] for clip in run.dropped)]
