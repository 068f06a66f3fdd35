"""One model of a run: fresh weights, the loop, and everything it leaves in its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ser.data.inputs import Store
from ser.models.base import Frontend, SerModel
from ser.models.registry import build_model
from ser.runtime.files import remove_leftovers
from ser.runtime.progress import ProgressBar, say
from ser.runtime.seeds import seed_of
from ser.runtime.team import ALONE, Team, present_team
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
        config, data, checkpoints = run.config, _data_of(run, part), _checkpoints_of(run, part)
        with stopper.at_once():
            model = _fresh_model(run, part)
            _fit_statistics(model, data)
        with open_tracker(config, run.folder, part.name, "fold") as tracker:
            start_head(run, model, data.train_rows[run.train.scored[data.train_rows]], data.seed, stopper)
            trained, data.store, test_store = what_is_trained(run, model, stopper)
            checkpoints.made_for |= trained.rests_on
            team = _called_team(run, part, model, trained)
            trainer = Trainer(trained, data, config, checkpoints, stopper, (Tracking(tracker),), part.title, team)
            progress = trainer.fit()
            metrics = _write_artefacts(run, part, model, trainer, progress, _predictions(run, part, trainer, test_store))
            tracker.finish({"best_epoch": metrics["epoch"], **(metrics["scores"] or {})})
        checkpoints.remove()
    return metrics


def help_train(run: Experiment, part: Part, frontend: Frontend, team: Team) -> None:
    """In the other processes of a team: the same steps and predictions on this one's share of the clips. Nothing is written.

    frontend: of the leading process's model, with all it has learnt of the data.
    """
    model = _fresh_model(run, part)
    model.frontend = frontend
    trainer = Trainer(model, _data_of(run, part), run.config, _checkpoints_of(run, part), Stopper(), (), part.title, team)
    trainer.fit()
    _predictions(run, part, trainer, run.test_store)


def _called_team(run: Experiment, part: Part, model: SerModel, trained: SerModel) -> Team:
    """The launcher's processes, which are told what to train; nobody else where sharing it wouldn't pay or would change the result."""
    team = present_team()
    if team.size == 1:
        return ALONE
    if trained is not model or any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        what = (
            "what reads cached outputs" if trained is not model else "a network with batch norms (their statistics follow from the order)"
        )
        say(f"{part.title}: {what} is trained in one process; {'the other waits' if team.size == 2 else f'the other {team.size - 1} wait'}")
        return ALONE
    team.tell((run, part, model.frontend))
    return team


def _data_of(run: Experiment, part: Part) -> FoldData:
    table = run.train
    return FoldData(run.train_store, table.labels, part.train_rows, part.valid_rows, part.seed, part.epochs, table.votes, table.clear)


def _checkpoints_of(run: Experiment, part: Part) -> Checkpoints:
    return Checkpoints(run.folder / part.name, run.fingerprints | {"epochs": str(part.epochs)})


def _fresh_model(run: Experiment, part: Part) -> SerModel:
    seed_everything(seed_of(part.seed, "weights"))
    model = build_model(run.config.model, run.label_names, run.config.data.max_seconds)
    note_preparation(model, run, part)
    return model


def _fit_statistics(model: SerModel, data: FoldData) -> None:
    """What the frontend has to know of the data, from the training part and nothing else."""
    rows = data.train_rows
    bar = ProgressBar(rows, "statistics of the training part")
    model.fit_statistics((data.store[row] for row in bar), data.labels[rows])


def _predictions(run: Experiment, part: Part, trainer: Trainer, test_store: Store | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Probabilities of the validation part, where there is one, and of the test clips, where there are some."""
    valid = trainer.predict(trainer.data.store, part.valid_rows) if part.fold is not None else None
    return valid, predict_test(run, lambda rows: trainer.predict(test_store, rows, "test clips"))


def _write_artefacts(
    run: Experiment, part: Part, model: SerModel, trainer: Trainer, progress: Progress, found: tuple[np.ndarray | None, np.ndarray | None]
) -> dict:
    chosen_by = f"{run.config.train.metric} on the fold's validation part, so these scores are slightly optimistic"
    training = {
        "epoch": progress.best_epoch,
        "epochs_run": len(progress.history),
        "epoch_chosen_by": chosen_by if part.fold is not None else "the folds: the median of their best epochs",
        "chance": chance_in_training(run.train.labels[part.train_rows], run.config.train.sampler),
        "train_accuracy": progress.history[progress.best_epoch - 1]["train_accuracy"],
        "batch_size": progress.batch_size,
        "accumulation": progress.accumulation,
        "eval_batch_size": progress.eval_batch_size,
        "precision": progress.precisions[-1],
        "precisions": progress.precisions,
        "processes": trainer.team.size,
        "out_of_memory": progress.memory_retries,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
    return write_artefacts(run, part, *found, progress.history, progress.timing, model.save, training)
