"""What every network of transformers needs, whatever it takes: its labels, and messages without the library's own noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import transformers
from transformers import PreTrainedConfig

from ser.errors import UserError
from ser.labels import canonical


def set_labels(config: PreTrainedConfig, label_names: Sequence[str]) -> None:
    """Write the labels and their order into a config."""
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}
    config.problem_type = "single_label_classification"


def labels_of(config: PreTrainedConfig) -> tuple[str, ...]:
    """The labels of a checkpoint in the order of its outputs. Raises UserError where they aren't named."""
    names = tuple(config.id2label.get(index) for index in range(config.num_labels))
    if not all(isinstance(name, str) and name.isprintable() for name in names):
        raise UserError(f"config.json: id2label must name {config.num_labels} labels, 0 to {config.num_labels - 1}, in printable text.")
    return names


def canonical_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The registry's keys of these labels; the names as they are where not all of them are emotions."""
    try:
        keys = tuple(canonical(name) for name in names)
    except UserError:
        return names
    return keys if len(set(keys)) == len(keys) else names


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars for files and its table of missing weights; `_check_report` judges those."""
    settings = transformers.utils.logging
    level, bar = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if bar:
            settings.enable_progress_bar()


def some(names: list[str]) -> str:
    """The first five, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def short(error: Exception) -> str:
    """An error's text on one line of readable length."""
    return " ".join(str(error).split())[:600]
