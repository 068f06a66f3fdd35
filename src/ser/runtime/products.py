"""Products by a weight that is made ready once, by the library that is quickest on this processor: MKL on Intel's in float32, else oneDNN.

Both know an order of weights of their own, and sort weights anew for every product where they aren't in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional

from ser.runtime.processors import is_intel

Product = Callable[[torch.Tensor], torch.Tensor]

ROUND = {torch.float32: 8, torch.bfloat16: 16}
"""Frames in a product are a multiple of it: oneDNN makes a kernel for every number of them, which in bf16 takes longer than the product.
Of clips of many lengths, two cores, an Intel Xeon with AMX, together with `RoundedFrames`: 1.5 times as fast in bf16, 1.03 in float32.
AMX works on 16 rows at a time."""

FEW = 16
"""Rows below which MKL's order of weights is another one."""


def packed_product(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> Product:
    """What makes (rows, out) of (rows, in), both of this dtype, by a weight (out, in) in float32."""
    bias = None if bias is None else bias.to(dtype)
    if dtype == torch.float32 and _mkl_packs(*weight.shape):
        return _by_mkl(weight, bias)
    order = packed(weight, dtype)

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        return product(functional.pad(rows, (0, 0, 0, -len(rows) % ROUND[dtype])), order, bias)[: len(rows)]

    return multiply


def packed(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A weight (out, in), in the order of oneDNN's kernels."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype).contiguous())


def product(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """(…, in) -> (…, out) by a packed weight; rows of `states` may overlap in memory."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def _by_mkl(weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    order = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), 512)
    shape = torch.empty(1).expand(weight.shape)  # torch reads no more of the weight itself, where the number of rows is the one told

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        enough = functional.pad(rows, (0, 0, 0, FEW - len(rows))) if len(rows) < FEW else rows
        return torch.ops.mkl._mkl_linear(enough, order, shape, bias, len(enough))[: len(rows)]

    return multiply


@cache
def _mkl_packs(out: int, heard: int) -> bool:
    """Whether MKL is there, the processor Intel's (on others it isn't quick), and its order of such a weight the same for any number of
    rows from `FEW` on: it was for all that were tried, which MKL doesn't promise. So it is asked."""
    if not is_intel() or not torch.backends.mkl.is_available() or not hasattr(torch.ops.mkl, "_mkl_linear"):
        return False
    draw = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(out, heard, generator=draw), torch.randn(136, heard, generator=draw)
    multiply = _by_mkl(weight, None)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return all(torch.allclose(multiply(rows[:n]), rows[:n] @ weight.t(), rtol=1e-4, atol=1e-3) for n in (FEW, 63, 136))
