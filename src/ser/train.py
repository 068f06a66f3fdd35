"""Train the folds of one experiment.

    python -m ser.train --config configs/wav2vec2_base.yaml
    python -m ser.train --config configs/wav2vec2_base.yaml --folds 0,3 --train.batch_size 4
    python -m ser.train --config configs/demo.yaml --run.output outputs/try --train.epochs 2

Run the same command again after an interruption: finished folds are skipped, the running one goes on.
"""

from __future__ import annotations

import warnings

import torch

from ser.config import Config, build_parser, parse
from ser.data.store import ClipStore
from ser.errors import Interrupted, UserError, run_command
from ser.metrics import describe
from ser.report import fold_report, run_report
from ser.training.checkpoint import Checkpoints
from ser.training.fold import is_finished, train_fold
from ser.training.run import open_run
from ser.training.stopping import Stopper
from ser.training.tracking import track_run


def main(argv: list[str]) -> None:
    parser = build_parser("train", __doc__)
    parser.add_argument("--folds", type=str, help="Train only these folds, e.g. 0,3; the report is made when all are there.")
    config, arguments = parse(parser, argv)
    try:
        train(config, chosen_folds(arguments.folds, config.cv.n))
    except Interrupted as stopped:
        if config.run.start_over:
            raise Interrupted(f"{stopped} But without --run.start_over, which would throw it away.") from None
        raise


def train(config: Config, folds: list[int] | None = None) -> dict | None:
    """Train the folds asked for (all by default); returns the OOF report once every fold is finished, else None.

    Raises Interrupted when a signal or the time budget ended it early.
    """
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    with Stopper(config.run.time_budget) as stopper:
        with stopper.at_once():
            run = open_run(config)
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
            report = run_report(run.folder)
    heard = isinstance(run.train_store, ClipStore)
    track_run(config, run.folder, report, (lambda name: run.train_store[run.train.ids.index(name)]) if heard else None)
    print(f"out-of-fold: {describe(report['oof'])}")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    print(f"made {run.folder}: {config.cv.n} folds, oof.csv, report.md, confusion.png")
    return report


def chosen_folds(text: str | None, n: int) -> list[int] | None:
    """`0,3` as [0, 3]; None means all."""
    if text is None:
        return None
    words = text.strip("[]").replace(" ", "").split(",")
    if not all(word.isdecimal() and int(word) < n for word in words):
        raise UserError(f"--folds: given {text!r}; allowed are numbers from 0 to {n - 1} with commas between, e.g. 0,{n - 1}.")
    return sorted({int(word) for word in words})


if __name__ == "__main__":
    run_command(main)
