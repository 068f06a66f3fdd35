"""A sweep from its first trial to its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import Namespace
from optuna.trial import TrialState

from ser.config import as_plain, flat
from ser.config.explaining import plain_value
from ser.runtime.errors import UserError
from ser.runtime.files import write_text
from ser.sweep.judging import judge
from ser.sweep.report import write_report
from ser.sweep.space import read_space
from ser.sweep.trials import Sweep, run_trial
from ser.sweep.wandb_file import write_wandb_file
from ser.train.experiment import NEUTRAL_KEYS


def run_sweep(folder: Path, words: Sequence[str], given: Namespace) -> None:
    """Trials until there are enough, the best judged, and everything written. given: the command's arguments; words: of the config."""
    space = read_space(Path(given.space), words)
    folder.mkdir(parents=True, exist_ok=True)
    sweep = Sweep.open(folder, words, space, given.prune)
    check_same_sweep(sweep, given.space)
    write_wandb_file(folder, words, space, sweep.base.train.metric)
    run_trials(sweep, given.trials)
    if busy := unfinished(sweep):
        print(f"{busy} trials are still being trained by other processes; the last one writes the result into {folder}")
        return
    seeds = [sweep.base.run.seed + number for number in range(1, given.rescore + 1)]
    print(write_report(sweep, judge(sweep, seeds), " ".join(map(str, given.config))))
    print(f"made {folder}: best.yaml (python -m ser.train --config {folder}/best.yaml), sweep.md, trials.csv, wandb.yaml")


def check_same_sweep(sweep: Sweep, space: str) -> None:
    """Write what the sweep is of; raise UserError where the folder's is of something else."""
    settings = {
        key: value for key, value in flat(as_plain(sweep.base)).items() if key not in NEUTRAL_KEYS and key.split(".")[0] not in NEUTRAL_KEYS
    }
    now = {"settings": settings, "space": yaml.safe_load(Path(space).read_text(encoding="utf-8"))}
    path = sweep.folder / "searched.yaml"
    if not path.exists():
        return write_text(path, yaml.safe_dump(now, sort_keys=False, allow_unicode=True))
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = [
        f"  {key}: was {plain_value(before[part].get(key))}, now {plain_value(now[part].get(key))}"
        for part in now
        for key in sorted(before[part].keys() | now[part].keys())
        if before[part].get(key) != now[part].get(key)
    ]
    if changed:
        raise UserError("\n".join([f"{sweep.folder} is a sweep of something else:", *changed, "Use another --output."]))


def run_trials(sweep: Sweep, wanted: int) -> None:
    """Trial after trial, until there are as many as wanted."""
    while True:
        with sweep.next_trial(wanted) as trial:
            if trial is None:
                return
            tried = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in trial.params.items())
            print(f"== trial {trial.number}: {tried}", flush=True)
            print(f"trial {trial.number}: {run_trial(sweep, trial)}", flush=True)


def unfinished(sweep: Sweep) -> int:
    """How many trials other processes are at."""
    return len(sweep.trials(TrialState.RUNNING))
