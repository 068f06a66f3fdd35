"""How far a model's confidence can be believed, and temperature scaling, which mends most of it.

Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.metrics import log_loss, log_losses

FILE = "calibration.json"
BINS = 15  # as in the paper
LEAST = 1e-12  # a probability of 0 would stay 0 at any temperature
TEMPERATURES = (0.05, 20.0)


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(N, C) probabilities at another temperature: softmax(log p / T). Above 1 they get less sure; the order stays."""
    if temperature == 1.0:
        return probabilities
    return _softmax(np.log(np.maximum(probabilities, LEAST)) / temperature)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature at which the log loss of these predictions is least. labels (N,), probabilities (N, C)."""
    return _minimum(lambda temperature: log_loss(labels, scaled(probabilities, temperature)))


def temperature_of_the_mean(labels: np.ndarray, oof: np.ndarray, new: np.ndarray) -> float:
    """The temperature of the mean of K folds, without labels of clips that no fold has trained on.

    labels (N,), oof (N, C): out-of-fold predictions of single folds. new (K, M, C): every fold's predictions of the same M new clips.

    The mean over folds is less noisy than one fold, so the temperature of single folds leaves it too unsure. How much noise the mean takes
    out is seen where folds differ on the same new clips (no labels needed); how much spread there is altogether within a label, in the
    out-of-fold predictions. If both are Gaussian in the calibrated log probabilities, those of the mean have to be multiplied by
    spread / (spread left in the mean), as in linear discriminant analysis; the temperature is the one that comes closest to that.
    `benchmarks/calibration_of_the_mean.py` tries it on made-up tasks.
    """
    single, folds = fit_temperature(labels, oof), len(new)
    spread = _spread_within_labels(labels, _centred_logs(oof) / single)
    logs = _centred_logs(new) / single
    noise = logs.var(axis=0, ddof=1).sum(axis=-1).mean()
    shared = 1 - np.clip(noise / max(spread, LEAST), 0, 1)
    aim = _softmax(logs.mean(axis=0) / (shared + (1 - shared) / folds))
    return _minimum(lambda temperature: -(aim * np.log(np.maximum(scaled(new.mean(axis=0), temperature), LEAST))).sum(axis=1).mean())


def _spread_within_labels(labels: np.ndarray, logs: np.ndarray) -> float:
    """Mean over the labels that occur twice of the summed variance of logs (N, C) around the label's own mean."""
    parts = [logs[labels == label] for label in np.unique(labels)]
    return float(np.mean([part.var(axis=0, ddof=1).sum() for part in parts if len(part) > 1] or [0.0]))


def _centred_logs(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(np.maximum(probabilities, LEAST))
    return logs - logs.mean(axis=-1, keepdims=True)


def _softmax(logs: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return softmax(logs, axis=1)


def _minimum(loss: Callable[[float], float]) -> float:
    """The temperature at which the loss is least."""
    from scipy.optimize import minimize_scalar

    return float(
        np.exp(
            minimize_scalar(lambda log_temperature: loss(float(np.exp(log_temperature))), bounds=np.log(TEMPERATURES), method="bounded").x
        )
    )


def cross_fitted(labels: np.ndarray, probabilities: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """(N, C): each part (N,) scaled by the temperature of the others, so that figures of it are of clips that chose nothing."""
    result = np.empty_like(probabilities)
    for part in np.unique(parts):
        own = parts == part
        result[own] = scaled(probabilities[own], fit_temperature(labels[~own], probabilities[~own]))
    return result


def gain(labels: np.ndarray, probabilities: np.ndarray, parts: np.ndarray) -> dict:
    """Calibration error and log loss before and after, cross-fitted by parts.

    gains: whether the log loss gets better by more than the standard error of the difference over clips.
    """
    after = cross_fitted(labels, probabilities, parts)
    better = log_losses(labels, probabilities) - log_losses(labels, after)
    figures = {
        "ece_before": expected_calibration_error(labels, probabilities),
        "ece_after": expected_calibration_error(labels, after),
        "log_loss_before": log_loss(labels, probabilities),
        "log_loss_after": log_loss(labels, after),
    }
    return figures | {"gains": bool(better.mean() > better.std() / np.sqrt(len(better)))}


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
    """The temperature that `python -m ser.calibrate` left for what is served, the mean of a run's folds or one of them; 1 for none.

    Raises UserError when the file can't be used.
    """
    run = run_folder_of(model)
    path = None if run is None else run / FILE
    if path is None or not path.is_file():
        return 1.0
    is_mean = Path(model).absolute() == run and len(list(run.glob("fold_*/metrics.json"))) > 1
    try:
        found = read_json(path)
        # Files from before the mean had a temperature of its own hold one of single folds only.
        temperature = float(found.get("temperature_of_the_mean", 1.0) if is_mean else found["temperature"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} can't be read ({error}). Run `python -m ser.calibrate {run}` again, or delete it.") from None
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise UserError(f"{path}: temperature {temperature}; allowed are {TEMPERATURES[0]} to {TEMPERATURES[1]}.")
    return temperature
