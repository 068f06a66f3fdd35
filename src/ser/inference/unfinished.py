"""What of a run, of one seed or several, isn't trained yet, and what lies beside it without being asked for: told wherever it is used.

Where a run must be whole, `run_files` refuses it.
"""

from __future__ import annotations

from pathlib import Path

from ser.config.data import ALWAYS_TRAINED
from ser.data.csv_input import read_csv_input
from ser.inference.seed_runs import other_seeds, seed_folders

GO_ON = "Run the same `python -m ser.train` again to finish them"


def unfinished(folder: str | Path) -> str | None:
    """As `outputs/X, seed_1: 1 of 3 folds is finished, missing: 1, 2; seed_2: not begun`; None where nothing is missing, or it's no run."""
    if seeds := seed_folders(folder):
        found = [f"{seed.name}: {told}" for seed in seeds if (told := _of_run(seed))]
        return f"{folder}, {'; '.join(found)}" if found else None
    # Without folds.csv nobody knows how many there should be.
    told = _of_run(Path(folder)) if (Path(folder) / "folds.csv").is_file() else None
    return f"{folder}: {told}" if told else None


def _of_run(run: Path) -> str | None:
    finished = {file.parent.name.removeprefix("fold_") for file in run.glob("fold_*/metrics.json")}
    if not (run / "folds.csv").is_file():
        return None if finished else "not begun"
    folds = set(read_csv_input(run / "folds.csv").required("fold")) - {"", str(ALWAYS_TRAINED)}
    wanted = sorted(folds, key=lambda fold: (len(fold), fold))
    missing = [fold for fold in wanted if fold not in finished]
    if not missing:
        return None
    done = len(wanted) - len(missing)
    return f"{done} of {len(wanted)} folds {'is' if done == 1 else 'are'} finished, missing: {', '.join(missing)}"


def told_of_run(folder: str | Path) -> list[str]:
    """Sentences for who takes what there is of a run: what is missing, and which seeds it once had and now doesn't ask for."""
    told = []
    if missing := unfinished(folder):
        told.append(f"{missing}. What is finished is taken. {GO_ON}.")
    if others := other_seeds(folder):
        asked = ", ".join(seed.name for seed in seed_folders(folder))
        told.append(f"{folder} is of {asked}, as its config.yaml says. Trained before and not taken: {', '.join(others)}.")
    return told
