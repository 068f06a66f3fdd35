"""20 runs of five folds, 5,001 training and 1,881 test clips: what notebooks do with pandas and scipy, and ser.ensemble.

The mean in a notebook is a few lines that check nothing. ser.ensemble checks every file, scores each run and the blend with
intervals and paired differences, and writes its report page: it does more, and the ratio says what that costs. Weights in a notebook
are those of an arithmetic mean, by scipy's minimize with a numeric gradient; this project's are of a geometric one, with its gradient.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from benchmarks.measuring import Case, Options, in_turn, quietly
from ser.ensemble.blend import blend_runs
from ser.ensemble.methods import fit_weights

sys.path.append(str(Path(__file__).parents[1] / "tests" / "fixtures"))
from runs import make_run


def cases(options: Options) -> Iterator[Case]:
    runs, clips, test = (3, 120, 40) if options.quick else (20, 5001, 1881)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folders = [make_run(folder / "runs" / f"{n}", n, 1.5, clips, test, 5, data_root=folder / "input") for n in range(runs)]
        output = folder / "submissions" / "blend.csv"

        def by_ser() -> None:
            with quietly():
                blend_runs(folders, output)

        ways = {"pandas, no checks, no scores": lambda: mean_of_files(folders, folder / "mean.csv"), "ser.ensemble": by_ser}
        seconds = in_turn(ways, options.rounds)
        same = (pd.read_csv(folder / "mean.csv").merge(pd.read_csv(output), on="id").eval("label_x == label_y")).mean()
        yield Case(f"mean of {runs} runs", seconds, clips + test, "rows", {"same labels": f"{same:.4%}"})
        oof, labels = out_of_fold(folders)
        losses: dict[str, float] = {}
        ways = {
            "scipy, numeric gradient": lambda: losses.update(scipy=numeric_weights(oof, labels)),
            "fit_weights": lambda: losses.update(own=log_loss(fit_weights(oof, labels).predict(oof), labels)),
        }
        yield Case(f"weights of {runs} runs", in_turn(ways, min(options.rounds, 3)), notes={"log loss reached": losses})


def mean_of_files(folders: list[Path], output: Path) -> None:
    """The usual cell of a notebook."""
    tables = [pd.read_csv(path, index_col="id") for folder in folders for path in sorted(folder.glob("fold_*/test.csv"))]
    mean = sum(tables) / len(tables)
    pd.DataFrame({"id": mean.index, "label": mean.to_numpy().argmax(axis=1)}).to_csv(output, index=False)


def out_of_fold(folders: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(R, n, C) probabilities in the order of data.json, and the labels (n,)."""
    labels = pd.DataFrame(pd.read_json(folders[0] / "data.json", typ="series")["train"]).set_index("id")["label"]
    tables = [pd.concat([pd.read_csv(path, index_col="id") for path in folder.glob("fold_*/valid.csv")]) for folder in folders]
    return np.stack([table.loc[labels.index].to_numpy() for table in tables]), labels.to_numpy()


def numeric_weights(oof: np.ndarray, labels: np.ndarray) -> float:
    """The log loss of the best weighted mean that SLSQP finds."""

    def loss(weights: np.ndarray) -> float:
        return log_loss(np.tensordot(weights, oof, 1), labels)

    start, total = np.full(len(oof), 1 / len(oof)), {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    return float(minimize(loss, start, method="SLSQP", bounds=[(0, 1)] * len(oof), constraints=total).fun)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-15)).mean())
