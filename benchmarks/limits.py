"""How fast this machine multiplies: what no way of running a network can pass without doing other work."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

ROWS, INNER, OUTER = 512, 768, 3072
"""Ten seconds of frames through the wider linear layer of wav2vec2-base: large enough to keep every core at its products."""
GPU_ROWS = 64 * ROWS  # as many as keep a GPU at them
TRIES = 30


@torch.no_grad()
def product_rate(precision: torch.dtype) -> float:
    """Operations a second of one linear layer at its best of many tries, as torch runs it on the device that networks run on."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    count = GPU_ROWS if device == "cuda" else ROWS
    states, weight = (torch.randn(rows, INNER, device=device, dtype=precision) for rows in (count, OUTER))
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        torch.nn.functional.linear(states, weight)
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return 2 * count * INNER * OUTER / min(taken)


def operations(work: Callable[[], object]) -> int:
    """Operations of the products and convolutions in `work`, as torch counts them; of attention's on a GPU alone."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
