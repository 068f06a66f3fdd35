"""What prediction makes of weights and is the same for every clip, made once: their order as kernels of a CPU (MKL's, oneDNN's) read it,
the transforms that long convolutions want, the weights that weight norm computes.

torch multiplies by the weights as they lie and sorts them anew for every clip. The same products in another order of adding: 1e-7 off.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ser.runtime.convolutions import FramewiseConvolution, RoundedFrames, computed_once, is_feature_encoder, is_plain
from ser.runtime.cpu_memory import memory_here
from ser.runtime.device import cpu_has_bf16
from ser.runtime.self_attention import OwnAttention, is_self_attention, projections
from ser.runtime.stand_ins import PackedProduct, StandIn

SMALLEST = 2**16
"""Weights of a layer, below which a product is too short to gain."""

ONE_BY_ONE = 50_000_000
"""Weights of a network, above which a CPU predicts clips one by one or in a row: what it makes of several that are padded doesn't
stay in its cache."""

SHARE = 8
"""Of the memory, one in so many parts at most: several processes may train side by side."""


def pack_weights(model: object, precision: str) -> list[nn.Module]:
    """Make ready what a network needs for every clip that it hears in this precision (`no` or bf16, as accelerate says it).

    On a CPU that is its large layers' weights: none where memory is small, as each takes its own once more; anywhere the weights that are
    computed of others. Returns the layers with something to stand in for their `forward` now. One that is trained, or given other weights,
    meanwhile is as it would be without (but for what goes through `.data` in place, which torch doesn't count either).
    """
    if not isinstance(model, nn.Module):
        return []
    quick = _can_pack(precision)
    made = _large_layers(model, torch.bfloat16 if precision == "bf16" else torch.float32) if quick else {}
    for layer in filter(_is_free, model.modules()):
        if stand_in := computed_once(layer, by_fourier=quick):
            made[layer] = stand_in
    for layer, stand_in in made.items():
        layer.forward = stand_in
    return list(made)


def unpack_weights(layers: list[nn.Module]) -> None:
    """Give layers their own `forward` back, and the memory with it."""
    for layer in layers:
        vars(layer).pop("forward", None)


@contextmanager
def packed_weights(model: object, precision: str) -> Iterator[None]:
    """Within it the network predicts with packed weights; what was packed before stays so."""
    layers = pack_weights(model, precision)
    try:
        yield
    finally:
        unpack_weights(layers)


def _large_layers(model: nn.Module, dtype: torch.dtype) -> dict[nn.Module, StandIn]:
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and layer.weight.numel() >= SMALLEST and _fits(layer)]
    convolutions = [layer for layer in model.modules() if is_plain(layer) and _fits(layer)]
    size = sum(parameter.numel() for parameter in model.parameters())
    if (size <= ONE_BY_ONE and dtype == torch.bfloat16) or all(layer.weight.numel() < SMALLEST for layer in convolutions):
        convolutions = []  # of a smaller network a clip's answer would differ in bf16 by whether others are in its batch
    framewise = convolutions if dtype == torch.bfloat16 else []
    if sum(layer.weight.nbytes for layer in layers + framewise) * SHARE > memory_here():
        return {}  # by all there is and not by what is free, which would change the last digit from one time to the next
    attentions = [layer for layer in model.modules() if is_self_attention(layer) and _is_free(layer) and projections(layer) <= {*layers}]
    together = {part for layer in attentions for part in projections(layer)}
    made: dict[nn.Module, StandIn] = {layer: PackedProduct(layer, dtype) for layer in layers if layer not in together}
    made |= {layer: OwnAttention(layer, dtype) for layer in attentions}
    made |= {layer: FramewiseConvolution(layer) for layer in framewise}
    return made | {
        layer: RoundedFrames(layer, dtype) for layer in model.modules() if convolutions and is_feature_encoder(layer) and _is_free(layer)
    }


def _fits(layer: nn.Module) -> bool:
    return layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu" and _is_free(layer)


def _is_free(layer: nn.Module) -> bool:
    """Without a stand-in, and of weights whose changes are counted by torch: not those made in inference mode."""
    return "forward" not in vars(layer) and not any(weight.is_inference() for weight in layer.parameters())


def _can_pack(precision: str) -> bool:
    """oneDNN's kernels are made for these processors; torch has them where it was built so."""
    known = precision == "no" or (precision == "bf16" and cpu_has_bf16())
    return known and platform.machine() in ("x86_64", "AMD64") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
