"""Search settings: many trials of one config, each an ordinary run, and an honest word on the best of them.

    python -m ser.sweep --config configs/scratch_kernel.yaml --space configs/sweeps/kernel.yaml --trials 30 --data.root input
    python -m ser.sweep --config configs/wav2vec2_base.yaml --space configs/sweeps/rates.yaml --output outputs/sweeps/rates

The space is a YAML file of keys with a range {low, high, log, step} or a list of values. Run the same command again after an interruption,
with more --trials to go on, or in several terminals (one for each GPU: CUDA_VISIBLE_DEVICES) to share the work. A trial that falls behind
the best one is given up after some folds. Trials are compared by train.metric out of fold.

Written are best.yaml (a config to train), sweep.md, sweep.json, trials.csv, a run folder for each trial, and wandb.yaml, the same sweep for
`wandb sweep`. The best of many is partly the luckiest: sweep.md says by how much it flatters itself, and what it gains over the config as
it was on --rescore other seeds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import yaml
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from ser.config import as_plain, build_parser, flat, key_words, output_folder, read_words
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_text
from ser.train.experiment import NEUTRAL_KEYS

MISSING = "the sweep needs Optuna: pip install -r requirements-sweep.txt"


def main(argv: list[str]) -> None:
    """Run trials until there are enough, then judge the best and write it all down."""
    given, words = read_arguments(argv)
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError(MISSING) from None
    from ser.sweep.judging import judge
    from ser.sweep.report import write_report
    from ser.sweep.space import read_space
    from ser.sweep.trials import Sweep
    from ser.sweep.wandb_file import write_wandb_file

    os.environ.setdefault("SER_STARTED", str(time.time()))  # a --run.time_budget counts for all trials together
    folder, space = output_folder(given.output or default_output(given)), read_space(Path(given.space), words)
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


def read_arguments(argv: list[str]) -> tuple[Namespace, list[str]]:
    """The sweep's own arguments, and the words that make the config it varies."""
    parser = build_parser("sweep", __doc__, usage="--config FILE.yaml --space SPACE.yaml [--trials 30] [--section.key value ...]")
    parser.add_argument("--space", type=str, required=True, help="YAML file of what to try, e.g. configs/sweeps/rates.yaml.")
    parser.add_argument("--trials", type=PositiveInt, default=30, help="Trials in all, those of earlier calls and other processes too.")
    parser.add_argument("--output", type=str, help="Folder of the sweep; by default outputs/sweeps/<config>_<space>.")
    parser.add_argument("--prune", type=bool, default=True, help="Give trials up that fall behind the best one.")
    parser.add_argument("--rescore", type=NonNegativeInt, default=2, help="Other seeds to train the winner and the config as it was on.")
    given, keys = read_words(parser, argv), key_words(argv)
    if wrong := [key for key, _ in keys if key in ("run.output", "run.start_over")]:
        raise UserError(f"--{wrong[0]}: the sweep sets it for each trial. Use --output for the folder of them all.")
    if not given.config:
        raise UserError("--config: given nothing; the config whose settings are searched is needed, e.g. configs/wav2vec2_base.yaml.")
    return given, [*(f"--config={file}" for file in map(str, given.config)), *(f"--{key}={value}" for key, value in keys)]


def default_output(given: Namespace) -> str:
    """outputs/sweeps/<config>_<space>."""
    return str(Path("outputs") / "sweeps" / "_".join([*(Path(str(file)).stem for file in given.config), Path(given.space).stem]))


def check_same_sweep(sweep, space: str) -> None:
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
        f"  {key}: was {before[part].get(key)}, now {now[part].get(key)}"
        for part in now
        for key in sorted(before[part].keys() | now[part].keys())
        if before[part].get(key) != now[part].get(key)
    ]
    if changed:
        raise UserError("\n".join([f"{sweep.folder} is a sweep of something else:", *changed, "Use another --output."]))


def run_trials(sweep, wanted: int) -> None:
    """Trial after trial, until there are as many as wanted."""
    from ser.sweep.trials import run_trial

    while True:
        with sweep.next_trial(wanted) as trial:
            if trial is None:
                return
            tried = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in trial.params.items())
            print(f"== trial {trial.number}: {tried}", flush=True)
            print(f"trial {trial.number}: {run_trial(sweep, trial)}", flush=True)


def unfinished(sweep) -> int:
    """How many trials other processes are at."""
    from optuna.trial import TrialState

    return len(sweep.trials(TrialState.RUNNING))


if __name__ == "__main__":
    run_command(main)
