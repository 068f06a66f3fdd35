"""Device, precision (what `auto` is, bf16 or float32) and memory, through accelerate."""

from __future__ import annotations

import os
import re
import resource
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ser.runtime.cpu_memory import settle_cpu_memory
from ser.runtime.errors import UserError

LAUNCHER = re.compile(
    r"(LOCAL_|GROUP_|ROLE_|NODE_)?RANK|(LOCAL_|GROUP_|ROLE_)?WORLD_SIZE|MASTER_(ADDR|PORT)|(TORCHELASTIC|PMI|PMIX|OMPI|MV2|CCL|FSDP)_\w+"
    r"|ACCELERATE_USE_(?!CPU)\w+"
)
"""What torchrun, accelerate and MPI leave in the environment: it would make accelerate wait for processes that never come."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_NTASKS")


def make_accelerator(precision: str) -> Accelerator:
    """Device and precision. auto is bf16 on a GPU that has it, else float32."""
    work_alone()
    precision = precision_here(precision)
    # Accelerate keeps one state per process and refuses another precision (two runs in one notebook). A new one, as the accelerators
    # that were made before keep theirs: with an emptied one they would go on in fp16.
    AcceleratorState._shared_state = {}
    accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision)
    if accelerator.device.type == "cpu":
        settle_cpu_memory()
    return accelerator


def precision_here(precision: str) -> str:
    """What auto is on this machine; any other as given. Raises UserError for one that isn't known, or can't be had here."""
    if precision not in PRECISIONS:
        raise UserError(f"precision: given {precision}; allowed: {', '.join(PRECISIONS)}.")
    if precision == "fp16" and not torch.cuda.is_available():
        raise UserError("precision fp16 needs a GPU; allowed on this machine: auto, fp32, bf16.")
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    return precision


def precision_as_trained(given: str, trained_in: str | None) -> str:
    """What auto has to be for the answers a network gave in training: float32, or bf16 on a processor that computes in it."""
    as_trained = trained_in == "fp32" or (trained_in == "bf16" and cpu_has_bf16())
    return trained_in if given == "auto" and as_trained else given


def device_told(precision: str) -> str:
    """Where networks run in this process, in words: somebody who rents a GPU sees at once whether it is found."""
    accelerator = make_accelerator(precision)
    threads = torch.get_num_threads()
    where = {"cuda": torch.cuda.get_device_name, "cpu": lambda: f"the CPU ({threads} thread{'s' * (threads > 1)}): no GPU was found"}
    kind = accelerator.device.type
    return f"training in {precision_here(precision)} on {where[kind]() if kind in where else kind}"


def cpu_has_bf16() -> bool:
    """Whether this machine has no GPU, and a processor with instructions for products in bf16 (AVX-512 BF16, AMX)."""
    has = torch.cpu.get_capabilities()
    return not torch.cuda.is_available() and bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def work_alone() -> None:
    """Forget what a launcher left in the environment, with one line where it speaks of several processes: this is the only one."""
    found = [name for name in os.environ if LAUNCHER.fullmatch(name)]
    several = [f"{name}={os.environ[name]}" for name in COUNTS if os.environ.get(name, "1") != "1"]
    if found and (several or "RANK" in found):
        print(f"ignored a launcher's environment ({', '.join(several) or 'RANK'}): this command works in one process", file=sys.stderr)
    forget_launcher()


def forget_launcher() -> None:
    """Take a launcher's variables out of the environment, for this process and those it starts."""
    for name in [name for name in os.environ if LAUNCHER.fullmatch(name)]:
        del os.environ[name]


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
