"""Weights that are only there as pytorch_model.bin: read in a process of their own, as tensors and nothing else, and kept as safetensors.

A pickled file can run code when it is opened. torch's weights-only reader builds nothing but tensors and plain containers; should it
ever have a hole, the process that opens a stranger's file has nothing to do but that.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file

from ser.runtime.errors import UserError
from ser.runtime.files import atomic_path

log = logging.getLogger(__name__)

ONE_PICKLE = "pytorch_model.bin"
SAFE = "model.safetensors"
LONGEST_SECONDS = 1800
_READ_AND_WRITE = """
import sys, torch, zipfile
from safetensors.torch import save_file
state = torch.load(sys.argv[1], map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(sys.argv[1]))
state = state[sys.argv[3]] if len(sys.argv) > 3 else state
state = {name: value.detach().clone().contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
save_file(state, sys.argv[2], metadata={"format": "pt"})
"""


def make_safe(folder: Path) -> None:
    """Write a folder's pytorch_model.bin beside it as model.safetensors.

    Raises UserError where it holds more than tensors (then nothing of it is run), is damaged, or the folder can't be written.
    """
    log.warning("Writing %s from %s, which is read as tensors only.", folder / SAFE, ONE_PICKLE)
    try:
        with atomic_path(folder / SAFE) as temporary:
            _read_and_write(folder / ONE_PICKLE, temporary)
    except subprocess.TimeoutExpired:
        raise UserError(f"{folder / ONE_PICKLE} wasn't read within {LONGEST_SECONDS // 60} minutes. Is the disk at its end?") from None
    except OSError as error:
        raise UserError(f"{folder / SAFE} can't be written ({error}). Copy the folder to where it can, and name that one.") from None


def tensors_of(file: Path, part: str) -> dict[str, torch.Tensor]:
    """The tensors below one key of a pickled file. Raises UserError as `make_safe` does."""
    with TemporaryDirectory() as beside:
        _read_and_write(file, Path(beside) / SAFE, part)
        return load_file(Path(beside) / SAFE)


def _read_and_write(file: Path, destination: Path, *part: str) -> None:
    done = subprocess.run(  # noqa: S603 - this Python, a fixed program
        [sys.executable, "-I", "-c", _READ_AND_WRITE, str(file.resolve()), str(destination), *part],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(
            f"{file} can't be opened as tensors alone ({reason[:300]}), and nothing else is, because a pickled file "
            "can run code. Take another copy of the checkpoint, or one that holds model.safetensors."
        )
