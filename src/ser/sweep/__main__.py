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

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from ser.config import Config, build_parser, key_words, output_folder, read_config_words, read_words
from ser.runtime.errors import UserError, run_command


def main(argv: list[str]) -> None:
    """Read the words, then run trials until there are enough, judge the best, and write it all down."""
    given, words = read_arguments(argv)
    check_one_run(read_config_words(words))
    folder = output_folder(given.output or default_output(given))
    os.environ.setdefault("SER_STARTED", str(time.time()))  # a --run.time_budget counts for all trials together
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("the sweep needs Optuna: pip install -r requirements-sweep.txt") from None
    from ser.sweep.running import run_sweep

    run_sweep(folder, words, given)


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


def check_one_run(base: Config) -> None:
    """Raise UserError where a trial would be more than its folds with one seed, or couldn't be judged."""
    if base.data.multi_label:
        raise UserError("data.multi_label: a sweep compares trials by the one label of a clip. Try settings one by one with `ser.train`.")
    if base.cv.n == 1:
        raise UserError("cv.n: given 1; trials are compared by what they say of clips out of fold: 2 or more are allowed.")
    if base.run.seeds or base.cv.full_fit:
        raise UserError("a trial is one run with one seed: take run.seeds and cv.full_fit out, and train best.yaml with them afterwards.")


def default_output(given: Namespace) -> str:
    """outputs/sweeps/<config>_<space>."""
    return str(Path("outputs") / "sweeps" / "_".join([*(Path(str(file)).stem for file in given.config), Path(given.space).stem]))


if __name__ == "__main__":
    run_command(main)
