"""One fold of a model that is fitted in one go. It leaves the same files as a trained network, its history is one row."""

from __future__ import annotations

import time

import numpy as np
import torch

from ser.runtime.progress import say
from ser.runtime.seeds import seed_of
from ser.scoring.metrics import quick_scores
from ser.scoring.suspicions import chance_in_training
from ser.train.artefacts import history_row, predict_test, timing_row, write_artefacts
from ser.train.experiment import Experiment
from ser.train.frozen import fitted_model
from ser.train.signals import Stopper
from ser.train.tracking import open_tracker


def fit_fold(run: Experiment, fold: int, stopper: Stopper) -> dict:
    """Fit one fold to its artefacts; returns what metrics.json holds. Raises Interrupted when the stopper says so."""
    config = run.config
    # By id, so that the order of the table's rows decides nothing.
    train_rows = np.array(sorted(np.flatnonzero(run.folds != fold), key=lambda row: run.train.ids[row]))
    valid_rows = np.flatnonzero(run.folds == fold)
    labels = run.train.labels
    seed = seed_of(config.run.seed, "fold", fold)
    model = fitted_model(run, seed)
    started = time.monotonic()
    on_train = quick_scores(
        labels[train_rows],
        model.fit(run.train_store, train_rows, labels[train_rows], seed, stopper.check),
    )
    fitted = time.monotonic()
    title = f"fold {fold} of {config.cv.n}"
    valid = model.predict(run.train_store, valid_rows, f"{title}, validation", stopper.check)
    predicted = time.monotonic()
    test = predict_test(run, lambda rows: model.predict(run.test_store, rows, f"{title}, test", stopper.check))
    on_valid = quick_scores(labels[valid_rows], valid)
    history = history_row(1, on_train["log_loss"], on_train["accuracy"], on_valid, {})
    timing = timing_row(1, len(train_rows), fitted - started, predicted - fitted, torch.device("cpu"))
    say(f"{title}: fitted to {len(train_rows)} clips in {fitted - started:.1f} s, valid acc {on_valid['accuracy']:.3f}")
    training = {
        "epoch": 1,
        "epochs_run": 1,
        "epoch_chosen_by": "nothing: the model is fitted in one go",
        "chance": chance_in_training(labels[train_rows], "shuffled"),
        "train_accuracy": on_train["accuracy"],
        "caveats": model.caveats,
        "chosen": model.chosen,
        "parameters": model.parameter_count,
        "trained_parameters": model.parameter_count,
    }
    with open_tracker(config, run.folder, f"fold_{fold}", "fold") as tracker:
        tracker.log(history, 1)
        metrics = write_artefacts(run, fold, valid, test, [history], [timing], model.save, training)
        tracker.finish({"best_epoch": 1, **metrics["scores"]})
    return metrics
