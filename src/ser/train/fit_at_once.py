"""One model that is fitted in one go: of a fold, or of all clips. It leaves the same files as a trained network, its history is one row."""

from __future__ import annotations

import time

import torch

from ser.inference.run_files import IN_ONE_GO
from ser.runtime.progress import busy, say
from ser.scoring.metrics import quick_scores
from ser.scoring.suspicions import chance_in_training
from ser.train.artefacts import history_row, predict_test, timing_row, write_artefacts
from ser.train.copies import with_copies
from ser.train.experiment import Experiment
from ser.train.frozen import fitted_model
from ser.train.part import Part
from ser.train.signals import Stopper
from ser.train.tracking import open_tracker

MAJORITIES = "It was fitted in one go, to the annotators' majorities and not to their votes; training clips without one were left out."


def fit_part(run: Experiment, part: Part, stopper: Stopper) -> dict:
    """Fit one model to its artefacts; returns what metrics.json holds. Raises Interrupted when the stopper says so."""
    config = run.config
    labels, scored, valid_rows = run.train.labels, run.train.scored, part.valid_rows
    train_rows, judging = part.train_rows[scored[part.train_rows]], scored[valid_rows]
    if run.train.votes is not None:
        left = len(part.train_rows) - len(train_rows)
        say(f"{part.title}: a model fitted in one go learns majorities, not votes; {left} training clips without one are left out")
    model = fitted_model(run, part)
    store, rows = with_copies(run, train_rows, stopper.check)
    started = time.monotonic()
    with busy(f"{part.title}: fitting"):
        known = model.fit(store, rows, labels[rows % len(labels)], part.seed, stopper.check)
    on_train = quick_scores(labels[train_rows], known[: len(train_rows)])
    fitted = time.monotonic()
    title = part.title
    valid = None if part.fold is None else model.predict(run.train_store, valid_rows, f"{title}, validation", stopper.check)
    predicted = time.monotonic()
    test = predict_test(run, lambda rows: model.predict(run.test_store, rows, f"{title}, test", stopper.check))
    on_valid = None if valid is None else quick_scores(labels[valid_rows][judging], valid[judging])
    history = history_row(1, on_train["log_loss"], on_train["accuracy"], on_valid, {})
    timing = timing_row(1, len(train_rows), fitted - started, predicted - fitted, torch.device("cpu"))
    judged = "" if on_valid is None else f", valid acc {on_valid['accuracy']:.3f}"
    say(f"{title}: fitted to {len(rows)} clips in {fitted - started:.1f} s{judged}")
    training = {
        "epoch": 1,
        "epochs_run": 1,
        "epoch_chosen_by": IN_ONE_GO,
        "chance": chance_in_training(labels[train_rows], "shuffled"),
        "train_accuracy": on_train["accuracy"],
        "caveats": [*model.caveats, *([] if run.train.votes is None else [MAJORITIES])],
        "voices": model.told.get(f"{title}, validation"),
        "chosen": model.chosen,
        "parameters": model.parameter_count,
        "trained_parameters": model.parameter_count,
    }
    with open_tracker(config, run.folder, part.name, "fold") as tracker:
        tracker.log(history, 1)
        metrics = write_artefacts(run, part, valid, test, [history], [timing], model.save, training)
        tracker.finish(metrics["scores"] or {})
    return metrics
