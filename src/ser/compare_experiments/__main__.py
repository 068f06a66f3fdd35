"""Train several experiments on one split and put them side by side.

    python -m ser.compare_experiments configs/mfcc_cnn.yaml configs/logmel_crnn.yaml --data.root input --output outputs/comparison
    python -m ser.compare_experiments configs/mfcc_cnn.yaml configs/wav2vec2_frozen.yaml configs/wav2vec2_last4.yaml --train.epochs 10

The first config is the baseline. Every experiment has the same clips in the same folds. Where speakers are known each is
trained twice, with speakers kept apart between folds and without, and the gap between the two is reported; where a model reads
texts, also with each sentence kept in one fold. --cv.split speaker, text or stratified asks for one of them. Options other than
--output are keys of the configs and hold for every experiment.

Written are comparison.md, .csv and .png, histories.png (of what is trained by epochs), and a run folder for each experiment and
split. Run the same command again after an interruption, or with one config more: what is finished is reused.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import ser
from ser.compare_experiments.experiments import SPLITS, read_experiment
from ser.compare_experiments.report import write_comparison
from ser.config import Config, build_parser, key_words, output_folder, parse, read_words
from ser.data.inputs import open_store
from ser.data.tables import read_dataset
from ser.inference.prediction import predict_probabilities
from ser.models.registry import load_model, model_class
from ser.report.tables import text_table
from ser.runtime.device import make_accelerator
from ser.runtime.errors import EXIT_INTERRUPTED, Interrupted, UserError, run_command
from ser.train.fold import is_finished
from ser.train.training import train

SPEED_CLIPS = 64
SHOWN = ("split", "experiment", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "uar", "points_difference")


def main(argv: list[str]) -> None:
    """Train what isn't trained yet, then write the comparison."""
    files, output, options = read_arguments(argv)
    configs = [config_of(file, options) for file in files]
    splits = wanted_splits(configs)
    options = [word for word in options if not word.startswith(("--cv.split=", "--cv.n="))]  # set below
    os.environ.setdefault("SER_STARTED", str(time.time()))  # a --run.time_budget counts for all trainings together
    for split in splits:
        same_split = ["--cv.split", split, "--cv.n", str(configs[0].cv.n)]
        for file in files:
            folder = output / file.stem / split
            print(f"== {file.stem}, {SPLITS[split]}", flush=True)
            train_experiment(file, [*options, *same_split, "--run.output", str(folder)])
            if file is files[0]:  # it makes the split, the others take it from there
                same_split += ["--cv.file", str(folder / "folds.csv")]
    experiments = [
        read_experiment(file.stem, {split: output / file.stem / split for split in splits}, prediction_speed(output / file.stem, config))
        for file, config in zip(files, configs, strict=True)
    ]
    table = write_comparison(experiments, output)
    print(text_table(table[list(SHOWN)]))
    print(f"wrote {output}/comparison.md, comparison.csv, comparison.png")


def read_arguments(argv: list[str]) -> tuple[list[Path], Path, list[str]]:
    """The configs, the output folder, and the keys for every training as words."""
    usage = "CONFIG CONFIG [CONFIG ...] [--output DIR] [--section.key value ...]"
    parser = build_parser("compare_experiments", __doc__, usage=usage)
    parser.add_argument("configs", type=str, nargs="*", help="Two or more configs; the first is the baseline.")
    parser.add_argument("--output", type=str, default="outputs/comparison", help="Folder to write the comparison and the runs to.")
    for word in argv:
        if word.partition("=")[0] in ("--config", "--run.output", "--cv.file"):
            raise UserError(f"{word}: the comparison sets it for each experiment. Name configs first, then --output and other keys.")
    given, keys = read_words(parser, argv), key_words(argv)
    files = [Path(name) for name in given.configs]
    _check_configs(files)
    return files, output_folder(given.output), [f"--{key}={value}" for key, value in keys]


def _check_configs(files: list[Path]) -> None:
    if len(files) < 2:
        raise UserError(
            f"given {len(files)} config(s); name at least two, before any option, e.g. configs/a.yaml configs/b.yaml --output D."
        )
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such config.")
        if sum(other.stem == file.stem for other in files) > 1:
            raise UserError(f"two configs are named {file.stem}; experiments are named after their files, so rename one.")


def config_of(file: Path, options: list[str]) -> Config:
    """The config of one experiment. Raises UserError naming its file."""
    try:
        config, _ = parse(build_parser("train", ""), ["--config", str(file), *options])
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    if config.run.seeds:
        raise UserError(f"{file}: run.seeds: an experiment is trained once here. Take it out; `python -m ser.train` trains several seeds.")
    return config


def wanted_splits(configs: list[Config]) -> list[str]:
    """Where none is asked for by cv.split: by speaker where they are known, by text where a model reads, and at random."""
    if configs[0].cv.split != "auto":
        return [configs[0].cv.split]
    reads = any(model_class(config.model.kind).takes != "audio" for config in configs)
    possible = {"speaker": read_dataset(configs[0].data).train.speakers is not None, "text": reads, "stratified": True}
    return [split for split in SPLITS if possible[split]]


def train_experiment(file: Path, options: list[str]) -> None:
    """Train all folds of one experiment, or look over what is finished. Raises Interrupted or UserError as it ended."""
    config = config_of(file, options)
    if all(is_finished(Path(config.run.output), fold) for fold in range(config.cv.n)):
        train(config)
    else:
        _train_in_own_process(file, options)


def _train_in_own_process(file: Path, options: list[str]) -> None:
    """`python -m ser.train`, so that the memory measured is this experiment's alone."""
    source = str(Path(ser.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-m", "ser.train", "--config", str(file), *options]
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - this very Python and the user's own words
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda number, _: process.send_signal(number)) for number in numbers]
    try:
        code = process.wait()
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
    if code == EXIT_INTERRUPTED:
        raise Interrupted("run the same command again to go on.")
    if code:
        raise UserError(f"{file.stem} could not be trained; its message is above.")


def prediction_speed(runs: Path, config: Config) -> float:
    """Clips a second that the first fold's model predicts, from decoded audio to probabilities."""
    model_folder = next(runs.glob("*/fold_0/model"))
    table = read_dataset(config.data).train
    table = table.take(np.arange(min(2 * SPEED_CLIPS, len(table))))
    with tempfile.TemporaryDirectory() as cache:  # an empty one: features found in a cache would cost nothing
        store = open_store(model_class(config.model.kind).takes, table, replace(config.data, cache=cache))
        rows = np.flatnonzero(store.usable)[:SPEED_CLIPS]
        accelerator = make_accelerator(config.train.precision)
        model = load_model(model_folder).to(accelerator.device)
        size = min(config.train.eval_batch_size, len(rows) // 2)
        predict_probabilities(model, store, rows[:size], size, accelerator)  # the first batch pays for what is set up once
        started = time.perf_counter()
        predict_probabilities(model, store, rows[size:], size, accelerator)
        return len(rows[size:]) / (time.perf_counter() - started)


if __name__ == "__main__":
    run_command(main)
