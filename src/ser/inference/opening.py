"""The models behind a name: of a run (all its finished folds, of all its seeds), a fold, a model folder, an ONNX file or the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from ser.config import DataConfig
from ser.data.inputs import Input
from ser.inference.answers import several_labels
from ser.inference.seed_runs import seed_folders
from ser.inference.unfinished import GO_ON, told_of_run
from ser.models.base import Model
from ser.models.hub import checkpoint_folder
from ser.models.registry import load_model
from ser.runtime.errors import UserError
from ser.runtime.packed_weights import pack_weights
from ser.runtime.progress import say


def model_folders(model: str | Path) -> list[Path]:
    """The model folders of a run (all its finished folds, of all its seeds), of one fold, the model folder itself, or that of a hub name.

    Raises UserError where there is no model.
    """
    path = Path(model)
    if not path.exists():
        return [_hub_folder(str(model))]
    if path.suffix == ".onnx" or (path / "config.json").exists() or (path / "ser_model.json").exists():
        return [path]
    if (path / "model").is_dir():
        return [path / "model"]
    seeds = seed_folders(path)
    if found := [model for run in seeds or [path] for model in _finished_models(run)]:
        return found
    if seeds:
        raise UserError(f"{path} holds no trained model: of {', '.join(seed.name for seed in seeds)} not one fold is finished. {GO_ON}.")
    raise UserError(f"{path} holds no trained model: no config.json, no model/ and no finished fold_*/ in it.")


def _finished_models(run: Path) -> list[Path]:
    folds = sorted(run.glob("fold_*/metrics.json"), key=lambda file: int(file.parent.name.split("_")[1]))
    return [file.parent / "model" for file in folds]


def _hub_folder(name: str) -> Path:
    told = f"no such model: {name}. Give a run folder (outputs/X), a fold (outputs/X/fold_0), a model folder, a model.onnx or a hub name"
    owner = name.split("/")[0]
    if name.count("/") != 1 or owner in ("", ".", "..", "~") or Path(owner).exists():
        raise UserError(f"{told}.")
    try:
        return checkpoint_folder(name)
    except UserError as error:
        raise UserError(f"{told}. As a hub name: {error}") from None


def load_models(model: str | Path, accelerator: Accelerator, multi_label: bool = False) -> Iterator[tuple[str, Model]]:
    """The models behind `model` (see `model_folders`) one after another, each with a title, on the accelerator's device, to predict with.

    What isn't finished of a run is told. multi_label: whether the caller can tell of several labels a clip. Raises UserError where one
    can't be loaded, gives several where one is wanted, or has other labels or takes its audio otherwise than the first.
    """
    folders = model_folders(model)
    for line in told_of_run(model):
        say(f"warning: {line}")
    first = None
    for number, folder in enumerate(folders, 1):
        network = load_model(folder).to(accelerator.device)
        if network.multi_label and not multi_label:
            raise several_labels(model)
        facts = {"labels": network.label_names, "max_seconds": network.max_seconds, "noise_reduction": network.noise_reduction}
        first = first or facts
        if facts != first:
            raise UserError(f"{folder} has {facts}, but the folds before it {first}.")
        pack_weights(network, accelerator.mixed_precision)  # for good: it only predicts, now and then a single clip
        yield f"model {number}/{len(folders)}", network


def on_one_encoder(networks: Iterable[Model]) -> list[Model]:
    """The same networks; those whose heads alone were trained have one encoder between them, as it is the same in all."""
    opened, encoders = [], {}
    for network in networks:
        if network.frozen_as is not None:
            network.encoder = encoders.setdefault(network.frozen_as, network.encoder)
        opened.append(network)
    return opened


def check_takes(wanted: Input, model: str | Path, network: Model) -> None:
    """Raise UserError for a model that takes something else than the `wanted`, which is all that can be given."""
    if network.takes != wanted:
        raise UserError(f"{model} is a model of kind {network.kind}, which takes {network.takes}; here a model of {wanted} is needed.")


def as_in_training(network: Model, data: DataConfig) -> DataConfig:
    """Audio is prepared as in training: the model's folder says how (one of texts from elsewhere says nothing)."""
    return replace(data, max_seconds=network.max_seconds or data.max_seconds, noise_reduction=network.noise_reduction)
