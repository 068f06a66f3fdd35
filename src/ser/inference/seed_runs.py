"""One experiment trained with several seeds on one split: a folder of ordinary runs, seed_0, seed_1 …, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from ser.inference.runs import Run, read_run
from ser.runtime.errors import UserError


@dataclass(frozen=True)
class SeedRuns:
    """The runs in the order of their seeds; average: one run whose probabilities are the mean of theirs."""

    runs: tuple[Run, ...]
    average: Run


def seed_folder(folder: str | Path, seed: int) -> Path:
    """Where the run of a seed lies."""
    return Path(folder) / f"seed_{seed}"


def seed_folders(folder: str | Path) -> list[Path]:
    """The runs in a folder of several seeds, as its config.yaml names them; [] where it is no such folder."""
    folder = Path(folder)
    if (folder / "data.json").is_file() or not any(folder.glob("seed_*")):
        return []
    try:
        seeds = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["run"]["seeds"]
        return [seed_folder(folder, int(seed)) for seed in seeds]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{folder} holds runs of several seeds, but its config.yaml doesn't say which. Train again to write it.") from None


def other_seeds(folder: str | Path) -> list[str]:
    """Names of the runs in a folder of several seeds that its config.yaml doesn't ask for (any more)."""
    asked = {place.name for place in seed_folders(folder)}
    there = (path.parent.name for path in Path(folder).glob("seed_*/data.json"))
    return sorted(set(there) - asked, key=lambda name: (len(name), name)) if asked else []


def any_seed(folder: str | Path) -> Path:
    """Of a folder of several seeds the first run that is begun (all have the same clips); else the folder itself."""
    return next((place for place in seed_folders(folder) if (place / "data.json").is_file()), Path(folder))


def read_seeds(folder: str | Path, allow_missing_folds: bool = False) -> SeedRuns:
    """Read and check the runs in a folder of several seeds (see `read_run`). Raises UserError where they aren't of one split.

    allow_missing_folds: a seed without a finished fold is left out; of the others, those folds count that all of them have.
    """
    places = seed_folders(folder)
    begun = [place for place in places if any(place.glob("fold_*/metrics.json"))]
    runs = [read_run(place, allow_missing_folds) for place in (begun if allow_missing_folds and begun else places)]
    first = runs[0]
    for run in runs[1:]:
        if run.fingerprint != first.fingerprint or run.ids != first.ids or not np.array_equal(run.fold_of, first.fold_of):
            raise UserError(f"{run.folder} and {first.folder} hold other clips or folds, so they can't be averaged. Train one again.")
    average = replace(
        first,
        folder=Path(folder),
        oof=np.mean([run.oof for run in runs], axis=0),
        test=np.mean([run.test for run in runs], axis=0),
        folds=tuple(fold for fold in first.folds if all(fold in run.folds for run in runs)),
        missing_folds=tuple(sorted({fold for run in runs for fold in run.missing_folds})),
    )
    return SeedRuns(tuple(runs), average)
