"""All folds of an experiment, one after the other or side by side, and the report on them; of several seeds, all their runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import distributed

from ser.config import Config
from ser.config.data import ALWAYS_TRAINED
from ser.config.experiment import check_multi_label
from ser.data.votes import describe_votes
from ser.inference.run_files import is_fitted_in_one_go
from ser.models.registry import model_class
from ser.report.fold_report import fold_report
from ser.report.page.judged import ClipFacts, clip_facts
from ser.report.run_report import run_report
from ser.report.seeds_report import seeds_report
from ser.runtime.device import device_told, precision_here
from ser.runtime.files import read_json
from ser.runtime.processors import processors
from ser.runtime.progress import busy, say
from ser.scoring.metrics import describe
from ser.scoring.spread import describe_spread
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import Experiment, open_experiment
from ser.train.fold import is_finished, train_fold, train_part
from ser.train.frozen import check_train_keys
from ser.train.on_ray import import_ray, train_on_ray
from ser.train.part import full_part, is_whole
from ser.train.precision import precision_of
from ser.train.seed_configs import configs_of_seeds, outdated_report, write_group
from ser.train.side_by_side import train_side_by_side
from ser.train.signals import Stopper
from ser.train.tracking import track_run


def train(config: Config, folds: list[int] | None = None) -> dict | None:
    """Train the folds asked for (all by default); returns the OOF report once every fold is finished, else None.

    With `run.seeds`, the same for each of them; the report is that of their average. Raises Interrupted when a signal or the time budget
    ended it early.
    """
    check_multi_label(config)
    if unread := check_train_keys(config):
        say(unread)
    if config.run.launcher == "ray":
        import_ray()  # before the data is read, like the next
    else:
        precision_here(config.train.precision)
    threads = config.train.threads or processors()
    if config.train.threads or threads < torch.get_num_threads():  # torch itself knows nothing of a container's quota
        torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    with Stopper(config.run.time_budget) as stopper:
        if config.run.seeds:
            return _train_seeds(config, folds, stopper)
        run = _open_run(config, stopper)
        _train_folds([run], folds, stopper)
        return _report_run(run, stopper)[0]


def _train_seeds(config: Config, folds: list[int] | None, stopper: Stopper) -> dict | None:
    """The runs of all seeds, one after the other or, on a cluster, all at once; and the report on their average."""
    configs, reports, facts = configs_of_seeds(config), [], None
    for together in [configs] if config.run.launcher == "ray" else [[own] for own in configs]:
        runs = []
        for own in together:
            say(f"seed {own.run.seed} ({configs.index(own) + 1} of {len(configs)})")
            runs.append(_open_run(own, stopper, group=config))
        _train_folds(runs, folds, stopper)
        for run in runs:
            if len(runs) > 1:
                say(f"seed {run.config.run.seed}:")
            report, facts = _report_run(run, stopper)
            reports.append(report)
    if None in reports:
        if outdated := outdated_report(config):
            say(outdated)
        return None
    with stopper.at_once():
        report = seeds_report(config.run.output, facts)
    names = [row["seed"] for row in report["seeds"]]
    say(f"out-of-fold, {len(names)} seeds averaged: {describe(report['oof'])}")
    say("\n".join(describe_spread(report["spread"], names)))
    say(f"made {config.run.output}: runs of {len(names)} seeds ({', '.join(names)}), their average in oof.csv, report.html, report.md")
    return report


def _open_run(config: Config, stopper: Stopper, group: Config | None = None) -> Experiment:
    """group: the config of all seeds, where it is one of several."""
    with stopper.at_once():
        run = open_experiment(config)
        if group:
            write_group(group)
    return run


def _train_folds(runs: list[Experiment], folds: list[int] | None, stopper: Stopper) -> None:
    """Those folds (all by default) of these runs that aren't finished yet: one after the other, side by side, or on a cluster."""
    waiting = [(run, fold) for run in runs for fold in _unfinished(run, folds, f"{run.folder.name} " if len(runs) > 1 else "")]
    if not waiting:
        return
    setting = runs[0].config.run
    if setting.launcher == "ray":
        train_on_ray(waiting, stopper)
        return
    launched = distributed.is_initialized()
    if launched and setting.processes > 1:
        say(f"run.processes {setting.processes} counts for nothing here: the launcher's processes train each fold together")
    for run in runs:
        own = [fold for of, fold in waiting if of is run]
        if own and setting.processes > 1 and not launched:
            train_side_by_side(run, own, stopper)
            continue
        if own and model_class(run.config.model.kind).by_epochs:
            say(device_told(precision_of(run.config)))
        for fold in own:
            stopper.check()
            train_fold(run, fold, stopper)
            say(fold_report(run.folder / f"fold_{fold}"))


def _unfinished(run: Experiment, folds: list[int] | None, told_as: str) -> list[int]:
    """Of these folds (all by default) those to train; the others are told, behind told_as."""
    asked = range(run.config.cv.n) if folds is None else folds
    for fold in [fold for fold in asked if is_finished(run.folder, fold)]:
        Checkpoints(run.folder / f"fold_{fold}").remove()  # a kill right after the last write left them
        say(f"{told_as}fold {fold}: finished before, skipped")
    return [fold for fold in asked if not is_finished(run.folder, fold)]


def _report_run(run: Experiment, stopper: Stopper) -> tuple[dict | None, ClipFacts]:
    """The report on a run, then its model of all clips; no report while folds are missing. And what is known of its clips."""
    config = run.config
    facts = clip_facts(run.train, config.data, run.train_store.report)
    missing = [fold for fold in range(config.cv.n) if not is_finished(run.folder, fold)]
    if missing:
        after = " and the full fit come" if config.cv.full_fit else " comes"
        say(f"{run.folder}: folds {missing} are still to be trained; the OOF report{after} when they are there.")
        return None, facts
    if (run.folds == ALWAYS_TRAINED).any():
        say(_told_of_one_model(run))
        return None, facts
    with stopper.at_once(), busy("scores, intervals and pictures of the run"):
        report = run_report(run.folder, facts=facts)
    track_run(config, run.folder, report)
    say(f"out-of-fold: {describe(report['oof'])}")
    if report["votes"]:
        say(describe_votes(report["votes"]))
    for warning in report["warnings"]:
        say(f"warning: {warning}")
    full = _train_full_fit(run, stopper) if config.cv.full_fit else None
    say(
        f"made {run.folder}: {config.cv.n} folds, oof.csv, report.html (open it in a browser), report.md"
        + (f"; {full}: a model of all clips, without a score" if full else "")
    )
    return report, facts


def _told_of_one_model(run: Experiment) -> str:
    """What was made where clips were held out for one model, and no folds were asked for."""
    folder = run.folder / "fold_0"
    chosen = "fitted in one go and judged" if is_fitted_in_one_go(read_json(folder / "metrics.json")) else "its epoch chosen"
    return f"made {folder}: one model, {chosen} by the {(run.folds == 0).sum()} held-out clips"


def _train_full_fit(run: Experiment, stopper: Stopper) -> Path:
    """The model of all training clips; returns its folder."""
    part = full_part(run)
    folder = run.folder / part.name
    if is_whole(folder):
        Checkpoints(folder).remove()
        say("full fit: finished before, skipped")
        return folder
    stopper.check()
    if run.config.run.launcher == "ray":
        train_on_ray([(run, None)], stopper)
        metrics = read_json(folder / "metrics.json")
    else:
        metrics = train_part(run, part, stopper)
    epoch = f"epoch {metrics['epoch']} ({metrics['epoch_chosen_by']})"
    made = "fitted in one go" if is_fitted_in_one_go(metrics) else epoch
    say(
        f"full fit: {metrics['train_clips']} clips, {made}. No clip is left to score it "
        f"by; `python -m ser.ensemble {run.folder} {folder} --output submissions/NAME.csv` lets it predict the test clips beside the folds."
    )
    return folder
