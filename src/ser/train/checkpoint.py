"""Checkpoints of a running fold: tensors as safetensors, the rest as JSON, checksummed, two generations.

A checkpoint is a folder `checkpoints/step_<n>_epoch_<k>` (k is the epoch to go on with); it appears in one
step, when everything in it is on the disk and has been read back; only then does the one before it go. A damaged
checkpoint is passed over, with a message, for the one before it.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, atomic_path, read_json, write_json

STATE = "state.json"
TENSORS = ("model.safetensors", "optimizer.safetensors")
BEST = "best_"
AVERAGE = "average.safetensors"


class Checkpoints:
    """The checkpoints of one fold folder, and the weights of its best epochs."""

    def __init__(self, fold_folder: Path, made_for: dict[str, str] | None = None):
        """made_for: fingerprints of what the checkpoints belong to (config, data, folds); another one's are refused."""
        self.folder = Path(fold_folder) / "checkpoints"
        self.made_for = made_for or {}
        self.best: tuple[int, dict[str, torch.Tensor]] | None = None
        self.best_checksums: dict[str, str] = {}

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict, average: torch.nn.Module | None = None) -> None:
        """Write a checkpoint, read it back, then drop older ones and best weights that no checkpoint needs.

        average: the mean of the weights, where there is one. state: JSON values; `global_step` and `epoch` name the checkpoint,
        `best_epoch` the best weights that belong to it.
        Where there is one of that name already, it stays.
        """
        target = self.folder / f"step_{state['global_step']:08d}_epoch_{state['epoch']:04d}"
        if self._intact(target):
            return
        self._write_best()
        written = dict(zip(TENSORS, (_copies(model.state_dict()), _copies(optimizer_tensors(optimizer))), strict=True))
        if average is not None:
            written[AVERAGE] = _copies(average.state_dict())
        with atomic_folder(target) as folder:
            for name, tensors in written.items():
                save_file(tensors, folder / name)
            if not all(_holds(folder / name, tensors) for name, tensors in written.items()):
                raise OSError(errno.EIO, "the checkpoint can't be read back as written: check the disk", str(target))
            checksums = {name: checksum(folder / name) for name in written} | self.best_checksums
            write_json(folder / STATE, state | {"made_for": self.made_for, "checksums": checksums})
        for old in self._newest_first()[1:]:
            shutil.rmtree(old)
        for weights in self.folder.glob(f"{BEST}*.safetensors"):
            if weights.name not in self.best_checksums:
                weights.unlink()

    def restore(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, average: torch.nn.Module | None = None
    ) -> tuple[dict | None, list[str]]:
        """Load the newest intact checkpoint into model and optimizer, and into the mean of the weights where there is one.

        Returns its state (None when there is none) and messages about damaged ones. A checkpoint that is
        intact but lacks a tensor the model has, or was made for another config or other data, is an error, never a
        silent partial load.
        """
        for leftover in self.folder.glob(".*"):  # what a kill in the middle of a write left behind
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        messages = []
        for folder in (found := self._newest_first()):
            if not self._intact(folder):
                back = "going back to the one before it" if folder != found[-1] else "the fold begins again, as there is no other"
                messages.append(f"checkpoint {folder} is damaged: {back}")
                continue
            state = read_json(folder / STATE)
            if other := [part for part, value in self.made_for.items() if state["made_for"].get(part) != value]:
                raise UserError(
                    f"{folder} was made for another state of: {', '.join(other)}. Was it copied from another run? "
                    "Use another --run.output, or begin again with --run.start_over true."
                )
            _load_strictly(model, load_file(folder / TENSORS[0]), folder)
            load_optimizer_tensors(optimizer, load_file(folder / TENSORS[1]), folder)
            if average is not None:
                _load_strictly(average, load_file(folder / AVERAGE), folder)
            self.best_checksums = {name: value for name, value in state["checksums"].items() if name.startswith(BEST)}
            return state, messages
        return None, messages

    def keep_best(self, model: torch.nn.Module, epoch: int) -> None:
        """Keep a copy of the weights of this epoch (a reference would go on training).

        It goes to the disk with the next checkpoint: before that, a resume starts from where the epoch isn't over yet.
        """
        self.best = epoch, _copies(model.state_dict())

    def load_best(self, model: torch.nn.Module, epoch: int) -> None:
        """Load the weights that `keep_best` kept, in this process or before an interruption."""
        if self.best is not None and self.best[0] == epoch:
            _load_strictly(model, self.best[1], self._best_path(epoch))
        else:
            _load_strictly(model, load_file(self._best_path(epoch)), self._best_path(epoch))

    def _write_best(self) -> None:
        if self.best is None:
            return
        epoch, tensors = self.best
        path = self._best_path(epoch)
        if path.name not in self.best_checksums:
            with atomic_path(path) as temporary:
                save_file(tensors, temporary)
            self.best_checksums = {path.name: checksum(path)}

    def remove(self) -> None:
        """The fold is finished: its checkpoints are no longer needed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _best_path(self, epoch: int) -> Path:
        return self.folder / f"{BEST}{epoch:04d}.safetensors"

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"), reverse=True)

    def _intact(self, folder: Path) -> bool:
        """Whether the checkpoint, and the best weights that belong to it, are as they were written."""
        try:
            recorded = read_json(folder / STATE)["checksums"]
            places = {name: self.folder / name if name.startswith(BEST) else folder / name for name in {*TENSORS, *recorded}}
            return all(checksum(path) == recorded[name] for name, path in places.items())
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
                # The count of steps lives on the CPU, but for a fused update.
                places = {"step": parameter.device if group["fused"] else "cpu"}
                optimizer.state[parameter] = {key: value.to(places.get(key, parameter.device), copy=True) for key, value in found.items()}
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


def _copies(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Also for safetensors, which refuses tensors that share memory (weight-normed or tied ones).
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _holds(path: Path, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the file holds exactly these tensors, bit by bit."""
    try:
        found = load_file(path)
    except SafetensorError:
        return False
    return found.keys() == tensors.keys() and all(torch.equal(_bits(found[name]), _bits(tensors[name])) for name in found)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)  # a NaN is never equal to itself
