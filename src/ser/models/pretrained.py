"""What every network of transformers needs, whatever it takes: reading it without running a stranger's code, its labels, quiet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ser.data.labels import canonical
from ser.runtime.errors import UserError


def read_config(folder: Path, model_types: Collection[str], kind: str) -> PreTrainedConfig:
    """The config of a checkpoint's folder. Raises UserError unless it is of one of these types (`kind` names them) and can be trained."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each config class has checks and exceptions of its own
        raise UserError(f"{folder}/config.json can't be used: {short(error)}") from None
    if config.model_type not in model_types:
        raise UserError(f"{folder} is a {config.model_type} checkpoint; {kind} known here are {', '.join(model_types)}.")
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(f"{folder} is quantised, which can't be trained. Take the checkpoint it was made from.")
    # A checkpoint can name an attention kernel on the hub here, which transformers would fetch and run.
    config._attn_implementation = None
    vars(config).pop("auto_map", None)  # code beside the checkpoint, which a model saved from it doesn't have
    return config


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """The folder as it is without adapter files, which transformers would load where peft is installed, and their base model with them."""
    if not (folder / "adapter_config.json").exists():
        yield folder
        return
    with TemporaryDirectory() as beside:
        for file in folder.iterdir():
            if not file.name.startswith("adapter_"):
                (Path(beside) / file.name).symlink_to(file.absolute())
        yield Path(beside)


def load_network(network_class: type, folder: Path, config: PreTrainedConfig) -> tuple[PreTrainedModel, dict]:
    """The network in float32 from safetensors, and transformers' report of the weights it lacks, to be judged. Raises UserError."""
    try:
        with quiet(), without_adapter(folder) as weights:
            return network_class.from_pretrained(
                weights,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder} can't be loaded: {short(error)}") from None


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
    """Without transformers' bars for files and its table of missing weights; whoever loads judges those."""
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
