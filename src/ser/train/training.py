"""All folds of an experiment, one after the other, and the report on them."""

from __future__ import annotations

import warnings

import torch

from ser.config import Config
from ser.report.fold_report import fold_report
from ser.report.page.judged import clip_facts
from ser.report.run_report import run_report
from ser.scoring.metrics import describe
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import open_experiment
from ser.train.fold import is_finished, train_fold
from ser.train.signals import Stopper
from ser.train.tracking import track_run


def train(config: Config, folds: list[int] | None = None) -> dict | None:
    """Train the folds asked for (all by default); returns the OOF report once every fold is finished, else None.

    Raises Interrupted when a signal or the time budget ended it early.
    """
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    with Stopper(config.run.time_budget) as stopper:
        with stopper.at_once():
            run = open_experiment(config)
        for fold in folds if folds is not None else range(config.cv.n):
            if is_finished(run.folder, fold):
                Checkpoints(run.folder / f"fold_{fold}").remove()  # a kill right after the last write left them
                print(f"fold {fold}: finished before, skipped")
                continue
            stopper.check()
            train_fold(run, fold, stopper)
            print(fold_report(run.folder / f"fold_{fold}"))
        missing = [fold for fold in range(config.cv.n) if not is_finished(run.folder, fold)]
        if missing:
            print(f"{run.folder}: folds {missing} are still to be trained; the OOF report comes when they are there.")
            return None
        with stopper.at_once():
            report = run_report(run.folder, facts=clip_facts(run.train, config.data, run.train_store.report))
    track_run(config, run.folder, report)
    print(f"out-of-fold: {describe(report['oof'])}")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    print(f"made {run.folder}: {config.cv.n} folds, oof.csv, report.html (open it in a browser), report.md")
    return report
