"""What every finished model of a run leaves in its folder, whatever its kind: one place for the data contract (test clips
that can't be used get the prior)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ser.inference.run_files import is_fitted_in_one_go
from ser.report.pictures import plot_confusion, plot_history
from ser.runtime.device import peak_memory_mb
from ser.runtime.files import write_csv, write_json
from ser.scoring.metrics import scores
from ser.train.experiment import Experiment
from ser.train.part import Part

VALID_SCORES = ("accuracy", "macro_f1", "uar")


def predict_test(run: Experiment, predict: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """Probabilities (M, labels) of all test clips, None where there are none.

    predict: rows of the test store -> probabilities. Clips that can't be used get the prior of the training labels.
    """
    if run.test is None:
        return None
    usable = np.flatnonzero(run.test_store.usable)
    probabilities = np.tile(run.prior, (len(run.test), 1))
    probabilities[usable] = predict(usable)
    return probabilities


def write_artefacts(
    run: Experiment,
    part: Part,
    valid: np.ndarray | None,
    test: np.ndarray | None,
    history: list[dict],
    timing: list[dict],
    save_model: Callable[[Path], None],
    training: dict,
) -> dict:
    """Histories, probabilities, plots, the model, and last metrics.json, whose content is returned.

    valid, test: probabilities of the fold's validation clips (None where all clips were trained on) and of all test clips, rows in table
    order. training: what metrics.json
    says besides about how it was trained; its `epoch` is the best one (1-based).
    """
    folder = run.folder / part.name
    write_csv(folder / "history.csv", pd.DataFrame(history))
    write_csv(folder / "timing.csv", pd.DataFrame(timing))
    if test is not None:
        write_csv(folder / "test.csv", probability_table(run.test.ids, test, run.label_names))
    plot_history(folder / "history.csv", folder / "history.png", None if is_fitted_in_one_go(training) else training["epoch"])
    judged = None if valid is None else _judged(run, folder, part.valid_rows, valid)
    save_model(folder / "model")
    metrics = {
        "fold": part.fold,
        "scores": judged,
        "split": run.split if part.fold is not None else "none: trained on every clip, so nothing here judges it",
        "label_names": list(run.label_names),
        "train_clips": len(part.train_rows),
        "valid_clips": len(part.valid_rows),
        "test_clips": 0 if run.test is None else len(run.test),
        "test_prior_rows": 0 if run.test is None else int((~run.test_store.usable).sum()),
        **training,
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def _judged(run: Experiment, folder: Path, rows: np.ndarray, valid: np.ndarray) -> dict:
    """valid.csv and confusion.png of the clips that the model hasn't trained on; returns their scores."""
    write_csv(folder / "valid.csv", probability_table([run.train.ids[row] for row in rows], valid, run.label_names))
    judging = run.train.scored[rows]
    labels = run.train.labels[rows[judging]]
    speakers = None if run.train.speakers is None else [run.train.speakers[row] for row in rows[judging]]
    if labels.ndim == 1:
        plot_confusion(labels, valid[judging], run.label_names, folder / "confusion.png")
    return scores(labels, valid[judging], speakers)


def history_row(epoch: int, train_loss: float, train_accuracy: float, valid: dict[str, float] | None, rates: dict[str, float]) -> dict:
    """A line of history.csv. valid: `quick_scores` of the validation part, None where there is none; rates: the learning rate of each part
    of the network.
    """
    judged = {} if valid is None else {"valid_loss": valid["log_loss"]} | {f"valid_{name}": valid[name] for name in VALID_SCORES}
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        **judged,
        **{f"{part}_lr": rates.get(part, 0.0) for part in ("encoder", "head")},
    }


def timing_row(epoch: int, clips: int, train_seconds: float, valid_seconds: float, device: torch.device, waited: float = 0.0) -> dict:
    """A line of timing.csv. waited: of train_seconds, those in which the network waited for its clips."""
    return {
        "epoch": epoch,
        "train_seconds": train_seconds,
        "waiting_seconds": waited,
        "valid_seconds": valid_seconds,
        "clips_per_second": clips / max(train_seconds, 1e-9),
        "peak_memory_mb": peak_memory_mb(device),
    }


def probability_table(ids: Sequence[str], probabilities: np.ndarray, label_names: tuple[str, ...]) -> pd.DataFrame:
    """`id` and one `p_<label>` column per label, rows in the order given."""
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in label_names])
    table.insert(0, "id", list(ids))
    return table
