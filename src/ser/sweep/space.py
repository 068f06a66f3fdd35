"""The space of a sweep: which keys are tried, and among which values.

train.learning_rate: {low: 1.0e-5, high: 1.0e-4, log: true}     a number between two, by its logarithm
train.epochs: {low: 4, high: 12, step: 2}                       whole numbers, every second one
model.pooling: [mean, statistics]                               one of these
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ser.config import Config, read_config_words
from ser.runtime.errors import UserError
from ser.train.frozen import check_train_keys

NOT_SEARCHED = ("data.", "cv.", "run.", "tracking.", "train.metric")
"""What decides which clips are judged, how, and where runs go: trials that differ in it can't be compared."""
RANGE = {"low", "high", "log", "step"}


def read_space(path: Path, words: Sequence[str]) -> dict[str, BaseDistribution]:
    """The keys of a YAML file and what they are drawn from. words: of the config that the sweep varies.

    Raises UserError for a key that isn't one, can't be searched or is set on the command line, and for a value that it can't have.
    """
    if not path.is_file():
        raise UserError(f"--space: given {path}; no such file. configs/sweeps holds some.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: it must hold keys and what to try, e.g. train.learning_rate: {{low: 1.0e-5, high: 1.0e-4, log: true}}")
    space = {}
    for key, given in content.items():
        if str(key).startswith(NOT_SEARCHED):
            raise UserError(f"{path}: {key} can't be searched: trials that differ in it couldn't be compared.")
        if any(word.startswith(f"--{key}=") for word in words):
            raise UserError(f"{path}: {key} is tried, but set on the command line too; take one of them out.")
        space[str(key)] = _distribution(str(key), given, path)
        for value in _extremes(space[key]):
            check_train_keys(config_with(words, {key: value}))
    return space


def config_with(words: Sequence[str], values: Mapping[str, object], *more: str) -> Config:
    """The config that the words make with other values of some keys. Raises UserError where they can't be."""
    return read_config_words([*words, *(f"--{key}={value}" for key, value in values.items()), *more])


def _distribution(key: str, given: object, path: Path) -> BaseDistribution:
    if isinstance(given, list) and given:
        return CategoricalDistribution([_word(value) for value in given])
    try:
        if isinstance(given, dict) and {"low", "high"} <= given.keys() <= RANGE:
            low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log, step or 1)
            return FloatDistribution(float(low), float(high), log, step)
        told = "it isn't a range or a list"
    except (TypeError, ValueError) as error:
        told = str(error)
    raise UserError(f"{path}: {key}: given {given}; allowed is {{low: 1, high: 5}} and log: true or step: 2, or a list of values ({told}).")


def _word(value: object) -> str:
    """A value as it stands on a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _extremes(distribution: BaseDistribution) -> Sequence[object]:
    """Values that stand for all: if the config takes them, it takes what lies between."""
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else (distribution.low, distribution.high)
