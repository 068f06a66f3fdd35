"""The processes of one launcher (torchrun, accelerate launch) that train a model together, and what they tell each other.

    torchrun --standalone --nproc_per_node 2 -m ser.train --config FILE

What they agree on goes through gloo, on the CPU, so that it never waits for a GPU; gradients of a GPU go through NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import distributed

from ser.runtime.device import forget_launcher
from ser.runtime.errors import Interrupted, UserError
from ser.runtime.progress import say

LAUNCHERS = {"torchrun", "accelerate", "torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch"}
TO_COME = timedelta(minutes=2)
"""So long the processes wait for each other at the beginning."""
TO_ANSWER = timedelta(hours=12)
"""So long they wait while the leading one decodes, encodes or writes. One that ended is noticed at once, whatever this says."""
ONE_OF_SEVERAL = (
    "warning: the launcher started one process, not several: accelerate launch does that without --multi_gpu. "
    "For two: torchrun --standalone --nproc_per_node 2 -m ser.train … (or accelerate launch --multi_gpu --num_processes 2 …)"
)
NUMBERS_AT_ONCE = 25_000_000
"""Numbers of gradients that go into one message (100 MB)."""


class Team:
    """The processes that work on one model: the first leads, the others only compute."""

    def __init__(self, place: int, size: int) -> None:
        self.place, self.size = place, size

    @property
    def leads(self) -> bool:
        """Whether this process is the one that reads data, writes files and talks."""
        return self.place == 0

    def share(self, work: Sequence) -> Sequence:
        """This process's part of something to do: every n-th piece of it."""
        return work[self.place :: self.size]

    def tell(self, order: Any = None) -> Any:
        """What the leading process says, in every process."""
        words = [order]
        with ended_processes_are_told():
            distributed.broadcast_object_list(words, src=0, device=torch.device("cpu"))
        return words[0]

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process does what is inside before the others begin it."""
        if not self.leads:
            self.tell()
        yield
        if self.leads and self.size > 1:
            self.tell()

    def same_weights(self, network: torch.nn.Module) -> None:
        """Give every process the weights and buffers of the leading one."""
        if self.size > 1:
            with ended_processes_are_told():
                for tensor in network.state_dict().values():
                    whole = tensor.contiguous()  # which NCCL asks for
                    distributed.broadcast(whole, src=0)
                    tensor.copy_(whole)

    def sum_gradients(self, network: torch.nn.Module) -> None:
        """The gradient of the clips of all processes, in each of them. A weight that none of them has a gradient for keeps none."""
        if self.size == 1:
            return
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        counts = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
        with ended_processes_are_told():
            distributed.all_reduce(counts)
        gradients = []
        for parameter, count in zip(trained, counts.tolist(), strict=True):
            if count and parameter.grad is None:  # layers that this process dropped, or a group without clips for it
                parameter.grad = torch.zeros_like(parameter)
            if count:
                gradients.append(parameter.grad)
        for some in _some_at_once(gradients):
            whole = self.sum(torch.cat([gradient.flatten() for gradient in some]))
            for gradient, total in zip(some, whole.split([gradient.numel() for gradient in some]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def sum(self, numbers: torch.Tensor) -> torch.Tensor:
        """The numbers of all processes added up, in each of them."""
        if self.size > 1:
            with ended_processes_are_told():
                distributed.all_reduce(numbers)
        return numbers

    def put_together(self, places: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
        """An array of `count` rows: those of this process, `values`, at their `places`, and those of the others at theirs."""
        if self.size == 1:
            return values
        parts = [None] * self.size
        with ended_processes_are_told():
            distributed.all_gather_object(parts, (places, values))
        whole = np.empty((count, *values.shape[1:]), values.dtype)
        for where, what in parts:
            whole[where] = what
        return whole


ALONE = Team(0, 1)


def present_team() -> Team:
    """The team that this process has joined, or this process alone."""
    joined = distributed.is_available() and distributed.is_initialized()
    return Team(distributed.get_rank(), distributed.get_world_size()) if joined else ALONE


def join_team() -> Team:
    """Meet the other processes of the launcher that started this one; without a launcher, this one works alone.

    The environment's variables prove nothing: shells, notebooks and jobs hand them on. A launcher waits for its processes, so it is
    their parent. Its variables are forgotten here: what this process starts is no part of the team.
    """
    if (joined := present_team()).size > 1:
        return joined
    if not _is_launcher(psutil.Process().parent()):
        return ALONE
    if os.environ.get("WORLD_SIZE", "1") == "1" or "TORCHELASTIC_RUN_ID" not in os.environ:
        if "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:  # accelerate's, where it was asked for several
            say(ONE_OF_SEVERAL)
        return ALONE
    size, local = (int(os.environ[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if size != local:
        raise UserError(
            f"the launcher started {size} processes, {local} of them on this machine; allowed are several on one machine. "
            "For several machines, give each its own folds: --folds 0,1 here, --folds 2,3,4 there, with one --run.output."
        )
    if torch.cuda.is_available():
        if torch.cuda.device_count() < size:
            raise UserError(f"the launcher started {size} processes; allowed are at most {torch.cuda.device_count()}, the GPUs here.")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        store, place, size = next(distributed.rendezvous("env://", timeout=TO_COME))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=store, rank=place, world_size=size, timeout=TO_ANSWER)
    except RuntimeError as error:
        raise UserError(f"the launcher's {size} processes did not meet within {TO_COME}: {' '.join(str(error).split())[:300]}") from None
    forget_launcher()
    return Team(place, size)


@contextmanager
def ended_processes_are_told() -> Iterator[None]:
    """Around what all processes do together: where one of them has ended, this one ends, too."""
    try:
        yield
    except RuntimeError as error:
        raise Interrupted(
            "another process of this training ended. Run the same command again: it goes on from the last checkpoint."
        ) from error


def _is_launcher(process: psutil.Process | None) -> bool:
    try:
        words = [] if process is None else process.cmdline()
    except psutil.Error:
        return False
    return any(word in LAUNCHERS or Path(word).name in LAUNCHERS for word in words)


def _some_at_once(gradients: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    some, numbers = [], 0
    for gradient in gradients:
        if some and (numbers + gradient.numel() > NUMBERS_AT_ONCE or gradient.dtype != some[0].dtype):
            yield some
            some, numbers = [], 0
        some.append(gradient)
        numbers += gradient.numel()
    if some:
        yield some
