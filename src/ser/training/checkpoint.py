"""Checkpoints of a running fold: tensors as safetensors, the rest as JSON, checksummed, two generations.

A checkpoint is a folder `checkpoints/step_<n>`; it appears in one step when everything in it is on the
disk. The one before it goes only after the new one has been read back. A damaged checkpoint is passed
over, with a message, for the one before it.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ser.errors import UserError
from ser.files import atomic_folder, atomic_path, read_json, write_json

STATE = "state.json"
TENSORS = ("model.safetensors", "optimizer.safetensors")


class Checkpoints:
    """The checkpoints of one fold folder, and the weights of its best epochs."""

    def __init__(self, fold_folder: Path):
        self.folder = Path(fold_folder) / "checkpoints"

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict) -> None:
        """Write a checkpoint, read it back, then drop older ones and best weights that no checkpoint needs.

        state: JSON values; `global_step` names the checkpoint, `best_epoch` the best weights that belong to it.
        """
        target = self.folder / f"step_{state['global_step']:08d}"
        with atomic_folder(target) as folder:
            save_file(_contiguous(model.state_dict()), folder / TENSORS[0])
            save_file(_contiguous(optimizer_tensors(optimizer)), folder / TENSORS[1])
            write_json(folder / STATE, state | {"checksums": {name: checksum(folder / name) for name in TENSORS}})
        if not self._intact(target):
            raise OSError(f"the checkpoint {target} could not be read back as written: check the disk")
        for old in self._newest_first()[1:]:
            shutil.rmtree(old)
        for weights in self.folder.glob("best_*.safetensors"):
            if weights != self._best_path(state["best_epoch"]):
                weights.unlink()

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict | None, list[str]]:
        """Load the newest intact checkpoint into model and optimizer.

        Returns its state (None when there is none) and messages about damaged ones. A checkpoint that is
        intact but lacks a tensor the model has is an error, never a silent partial load.
        """
        for leftover in self.folder.glob(".*"):  # what a kill in the middle of a write left behind
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        messages = []
        for folder in self._newest_first():
            if not self._intact(folder):
                messages.append(f"checkpoint {folder} is damaged: going back to the one before it")
                continue
            state = read_json(folder / STATE)
            if state["best_epoch"] and not self._best_path(state["best_epoch"]).exists():
                messages.append(f"checkpoint {folder} lacks the weights of its best epoch: going back to the one before it")
                continue
            _load_strictly(model, load_file(folder / TENSORS[0]), folder)
            load_optimizer_tensors(optimizer, load_file(folder / TENSORS[1]), folder)
            return state, messages
        return None, messages

    def save_best(self, model: torch.nn.Module, epoch: int) -> None:
        """Keep a copy of the weights of this epoch on disk (a reference in memory would go on training)."""
        with atomic_path(self._best_path(epoch)) as temporary:
            save_file(_contiguous(model.state_dict()), temporary)

    def load_best(self, model: torch.nn.Module, epoch: int) -> None:
        """Load the weights kept by `save_best`."""
        _load_strictly(model, load_file(self._best_path(epoch)), self._best_path(epoch))

    def remove(self) -> None:
        """The fold is finished: its checkpoints are no longer needed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _best_path(self, epoch: int) -> Path:
        return self.folder / f"best_{epoch:04d}.safetensors"

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"), reverse=True)

    @staticmethod
    def _intact(folder: Path) -> bool:
        try:
            recorded = read_json(folder / STATE)["checksums"]
            return all(checksum(folder / name) == recorded[name] for name in TENSORS)
        except (OSError, ValueError, KeyError, TypeError):
            return False


def checksum(path: Path) -> str:
    """blake2b of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as one flat dict, keyed by parameter name: `exp_avg/encoder.layer.weight`."""
    tensors = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
    return tensors


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Put back what `optimizer_tensors` took out; every parameter must have its full state or none."""
    keys = sorted({key.split("/", 1)[0] for key in tensors})
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            found = {key: tensors.pop(f"{key}/{name}") for key in keys if f"{key}/{name}" in tensors}
            if found and len(found) != len(keys):
                raise UserError(f"{source}: the optimizer state of {name} is incomplete. --run.start_over true begins again.")
            if found:
                optimizer.state[parameter] = {
                    key: value.clone() if key == "step" else value.to(parameter.device, copy=True) for key, value in found.items()
                }
    if tensors:
        raise UserError(
            f"{source}: optimizer state of unknown parameters {sorted(tensors)[:3]}. Was the model changed? "
            "--run.start_over true begins again."
        )


def _load_strictly(model: torch.nn.Module, tensors: dict[str, torch.Tensor], source: Path) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise UserError(f"{source} doesn't fit the model: {error}\n--run.start_over true begins again.") from None


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Clones, because safetensors refuses tensors that share memory (weight-normed or tied ones).
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
