"""One fold: fresh weights, the loop, and everything it leaves in its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.files import remove_leftovers, write_csv, write_json
from ser.metrics import scores
from ser.models import build_model
from ser.report import plot_confusion, plot_history
from ser.seeds import seed_of
from ser.training.checkpoint import Checkpoints
from ser.training.lock import only_process
from ser.training.loop import FoldData, Progress, Trainer, seed_everything
from ser.training.run import Run
from ser.training.stopping import Stopper
from ser.training.tracking import open_tracker


def is_finished(run_folder: Path, fold: int) -> bool:
    """metrics.json is written last: where it is, the fold is whole."""
    return (run_folder / f"fold_{fold}" / "metrics.json").exists()


def train_fold(run: Run, fold: int, stopper: Stopper) -> dict:
    """Train one fold from where it stands to its artefacts; returns what metrics.json holds."""
    folder = run.folder / f"fold_{fold}"
    with only_process(folder):
        remove_leftovers(folder, alone=True)
        config = run.config
        data = FoldData(
            store=run.train_store,
            ids=run.train.ids,
            labels=run.train.labels,
            train_rows=np.flatnonzero(run.folds != fold),
            valid_rows=np.flatnonzero(run.folds == fold),
            seed=seed_of(config.run.seed, "fold", fold),
        )
        seed_everything(seed_of(data.seed, "weights"))
        with stopper.at_once():
            model = build_model(config.model, run.label_names, config.data.max_seconds)
        checkpoints = Checkpoints(folder, run.fingerprints)
        with open_tracker(config, run.folder, f"fold_{fold}", "fold") as tracker:
            title = f"fold {fold} of {config.cv.n}"
            trainer = Trainer(model, data, config, checkpoints, stopper, lambda row: tracker.log(row, row["epoch"]), title)
            progress = trainer.fit()
            metrics = _write_artefacts(run, fold, folder, data, trainer, progress)
            tracker.finish({"best_epoch": metrics["epoch"], **metrics["scores"]})
        checkpoints.remove()
    return metrics


def _write_artefacts(run: Run, fold: int, folder: Path, data: FoldData, trainer: Trainer, progress: Progress) -> dict:
    """Histories, probabilities, plots, the model, and last metrics.json."""
    config, model = run.config, trainer.model
    write_csv(folder / "history.csv", pd.DataFrame(progress.history))
    write_csv(folder / "timing.csv", pd.DataFrame(progress.timing))
    valid = trainer.predict(run.train_store, data.valid_rows)
    write_csv(folder / "valid.csv", probability_table([run.train.ids[i] for i in data.valid_rows], valid, run.label_names))
    prior_rows = 0
    if run.test is not None:
        test, prior_rows = _test_probabilities(run, trainer)
        write_csv(folder / "test.csv", probability_table(run.test.ids, test, run.label_names))
    labels = run.train.labels[data.valid_rows]
    speakers = None if run.train.speakers is None else [run.train.speakers[i] for i in data.valid_rows]
    plot_history(folder / "history.csv", folder / "history.png", progress.best_epoch)
    plot_confusion(labels, valid, run.label_names, folder / "confusion.png")
    model.save(folder / "model")
    metrics = {
        "fold": fold,
        "epoch": progress.best_epoch,
        "epochs_run": len(progress.history),
        "epoch_chosen_by": f"{config.train.metric} on the fold's validation part, so these scores are slightly optimistic",
        "scores": scores(labels, valid, speakers, seed_of(config.run.seed, "bootstrap")),
        "train_accuracy": progress.history[progress.best_epoch - 1]["train_accuracy"],
        "split": run.split,
        "label_names": list(run.label_names),
        "train_clips": len(data.train_rows),
        "valid_clips": len(data.valid_rows),
        "test_clips": 0 if run.test is None else len(run.test),
        "test_prior_rows": prior_rows,
        "batch_size": progress.batch_size,
        "accumulation": progress.accumulation,
        "eval_batch_size": progress.eval_batch_size,
        "out_of_memory": progress.memory_retries,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def _test_probabilities(run: Run, trainer: Trainer) -> tuple[np.ndarray, int]:
    """Every test clip has a row: those that can't be used get the prior of the training labels."""
    usable = np.flatnonzero(run.test_store.usable)
    probabilities = np.tile(run.prior, (len(run.test), 1))
    probabilities[usable] = trainer.predict(run.test_store, usable, "test clips")
    return probabilities, len(run.test) - len(usable)


def probability_table(ids: list[str] | tuple[str, ...], probabilities: np.ndarray, label_names: tuple[str, ...]) -> pd.DataFrame:
    """`id` and one `p_<label>` column per label, rows in the order given."""
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in label_names])
    table.insert(0, "id", list(ids))
    return table
