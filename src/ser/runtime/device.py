"""Device, precision and memory, through accelerate."""

from __future__ import annotations

import resource

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ser.runtime.errors import UserError


def make_accelerator(precision: str) -> Accelerator:
    """Device and precision. auto is bf16 on a GPU that has it, else float32."""
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not torch.cuda.is_available():
        raise UserError("train.precision fp16 needs a GPU; allowed on this machine: auto, fp32, bf16.")
    # Accelerate keeps one state per process and refuses another precision (two runs in one notebook).
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
