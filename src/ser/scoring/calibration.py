"""How far a model's confidence can be believed, and temperature scaling, which mends most of it.

Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.runtime.errors import UserError
from ser.runtime.files import read_json

FILE = "calibration.json"
BINS = 15  # as in the paper
LEAST = 1e-12  # a probability of 0 would stay 0 at any temperature
TEMPERATURES = (0.05, 20.0)


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(N, C) probabilities at another temperature: softmax(log p / T). Above 1 they get less sure; the order stays."""
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature at which the log loss of these predictions is least. labels (N,), probabilities (N, C)."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        of_truth = scaled(probabilities, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(of_truth, LEAST)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """One row per bin of equal width of the confidence (the highest probability) that has a clip in it.

    Columns low, high, n, confidence (mean), accuracy. Labels (N,), probabilities (N, C).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    # Bins are open below and closed above, as in the paper.
    of_bin = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "n": int((of_bin == number).sum()),
            "confidence": float(confidence[of_bin == number].mean()),
            "accuracy": float(correct[of_bin == number].mean()),
        }
        for number in np.unique(of_bin).tolist()
    ]
    return pd.DataFrame(rows, columns=["low", "high", "n", "confidence", "accuracy"])


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """ECE: the mean distance between confidence and accuracy over the bins of `reliability`, weighted by their clips."""
    table = reliability(labels, probabilities, bins)
    return float(((table["confidence"] - table["accuracy"]).abs() * table["n"]).sum() / table["n"].sum())


def run_folder_of(model: str | Path) -> Path | None:
    """The run that a run folder, fold folder or model folder belongs to; None for a model that lies elsewhere."""
    path = Path(model).absolute()
    candidates = [path, *path.parents[:2]]
    return next((folder for folder in candidates if (folder / "data.json").is_file() and (folder / "folds.csv").is_file()), None)


def read_temperature(model: str | Path) -> float:
    """The temperature that `python -m ser.calibrate` left with the model's run; 1 where it left none.

    Raises UserError when the file can't be used.
    """
    run = run_folder_of(model)
    path = None if run is None else run / FILE
    if path is None or not path.is_file():
        return 1.0
    try:
        temperature = float(read_json(path)["temperature"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} can't be read ({error}). Run `python -m ser.calibrate {run}` again, or delete it.") from None
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise UserError(f"{path}: temperature {temperature}; allowed are {TEMPERATURES[0]} to {TEMPERATURES[1]}.")
    return temperature
