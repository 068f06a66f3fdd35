"""The trainings behind a comparison: each experiment in a process of its own, and how fast its model predicts."""

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
from ser.compare_experiments.experiments import SPLITS
from ser.config import Config, read_config_words
from ser.data.inputs import open_store
from ser.data.tables import read_dataset
from ser.inference.forward import predict_probabilities
from ser.models.registry import load_model, model_class
from ser.runtime.device import make_accelerator
from ser.runtime.errors import EXIT_INTERRUPTED, Interrupted, UserError
from ser.train.fold import is_finished
from ser.train.frozen import check_train_keys
from ser.train.training import train

SPEED_CLIPS = 64


def config_of(file: Path, options: list[str]) -> Config:
    """The config of one experiment. Raises UserError naming its file."""
    try:
        config = read_config_words(["--config", str(file), *options])
        check_train_keys(config)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    if config.data.multi_label:
        raise UserError(
            f"{file}: data.multi_label: experiments are compared by the one label of a clip. `ser.train` reports several labels."
        )
    if config.cv.n == 1:
        raise UserError(f"{file}: cv.n: given 1; experiments are compared by what they say of clips out of fold: 2 or more are allowed.")
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
