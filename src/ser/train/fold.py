"""One model of a run: fresh weights, the loop, and everything it leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from ser.data.inputs import Store
from ser.models.base import SerModel
from ser.models.registry import build_model
from ser.runtime.files import remove_leftovers
from ser.runtime.progress import ProgressBar
from ser.runtime.seeds import seed_of
from ser.scoring.suspicions import chance_in_training
from ser.train.artefacts import predict_test, write_artefacts
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import Experiment
from ser.train.fit_at_once import fit_part
from ser.train.frozen import is_fitted_at_once, start_head, what_is_trained
from ser.train.hooks import Tracking
from ser.train.lock import only_process
from ser.train.loop import Trainer, seed_everything
from ser.train.part import Part, fold_part, is_whole, note_preparation
from ser.train.signals import Stopper
from ser.train.state import FoldData, Progress
from ser.train.tracking import open_tracker


def is_finished(run_folder: Path, fold: int) -> bool:
    """Whether the fold is whole."""
    return is_whole(run_folder / f"fold_{fold}")


def train_fold(run: Experiment, fold: int, stopper: Stopper) -> dict:
    """Train one fold from where it stands to its artefacts; returns what metrics.json holds."""
    return train_part(run, fold_part(run, fold), stopper)


def train_part(run: Experiment, part: Part, stopper: Stopper) -> dict:
    """Train a fold, or the model of all clips, from where it stands to its artefacts; returns what metrics.json holds."""
    folder = run.folder / part.name
    with only_process(folder):
        remove_leftovers(folder, alone=True)
        if is_fitted_at_once(run.config):
            return fit_part(run, part, stopper)
        config = run.config
        table = run.train
        data = FoldData(run.train_store, table.labels, part.train_rows, part.valid_rows, part.seed, part.epochs, table.votes, table.clear)
        seed_everything(seed_of(data.seed, "weights"))
        with stopper.at_once():
            model = build_model(config.model, run.label_names, config.data.max_seconds)
            note_preparation(model, run, part)
            _fit_statistics(model, data)
        checkpoints = Checkpoints(folder, run.fingerprints | {"epochs": str(part.epochs)})
        with open_tracker(config, run.folder, part.name, "fold") as tracker:
            start_head(run, model, data.train_rows[table.scored[data.train_rows]], data.seed, stopper)
            trained, data.store, test_store = what_is_trained(run, model, stopper)
            trainer = Trainer(trained, data, config, checkpoints, stopper, (Tracking(tracker),), part.title)
            progress = trainer.fit()
            metrics = _write_artefacts(run, part, data, test_store, model, trainer, progress)
            tracker.finish({"best_epoch": metrics["epoch"], **(metrics["scores"] or {})})
        checkpoints.remove()
    return metrics


def _fit_statistics(model: SerModel, data: FoldData) -> None:
    """What the frontend has to know of the data, from the training part and nothing else."""
    rows = data.train_rows
    bar = ProgressBar(rows, "statistics of the training part")
    model.fit_statistics((data.store[row] for row in bar), data.labels[rows])


def _write_artefacts(
    run: Experiment, part: Part, data: FoldData, test_store: Store | None, model: SerModel, trainer: Trainer, progress: Progress
) -> dict:
    chosen_by = f"{run.config.train.metric} on the fold's validation part, so these scores are slightly optimistic"
    training = {
        "epoch": progress.best_epoch,
        "epochs_run": len(progress.history),
        "epoch_chosen_by": chosen_by if part.fold is not None else "the folds: the median of their best epochs",
        "chance": chance_in_training(data.labels[data.train_rows], run.config.train.sampler),
        "train_accuracy": progress.history[progress.best_epoch - 1]["train_accuracy"],
        "batch_size": progress.batch_size,
        "accumulation": progress.accumulation,
        "eval_batch_size": progress.eval_batch_size,
        "out_of_memory": progress.memory_retries,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
    valid = trainer.predict(data.store, data.valid_rows) if part.fold is not None else None
    test = predict_test(run, lambda rows: trainer.predict(test_store, rows, "test clips"))
    return write_artefacts(run, part, valid, test, progress.history, progress.timing, model.save, training)
