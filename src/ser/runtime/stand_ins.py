"""What stands in for `forward` of a layer that only predicts, and knows when it may not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from ser.runtime.products import packed_product


class StandIn:
    """What stands in for `forward` of a layer without gradients, for as long as its weights are those that this was made of.

    The weights stay where they are for all that asks for them; a copy of the layer has its own `forward` again.
    """

    def __init__(self, layer: nn.Module, weights: Sequence[torch.Tensor | None]):
        self.layer = layer
        self.made_of = [weight.detach() for weight in weights if weight is not None]  # with them their memory stays theirs
        self.versions = [weight._version for weight in self.made_of]
        self.learnt = False

    def __reduce__(self) -> tuple:
        return partial, (type(self.layer).forward, self.layer)

    def is_right(self, weights: Sequence[torch.Tensor | None]) -> bool:
        """Whether the layer's weights are what they were, and nothing is to be learnt now: from then on they aren't (a fused optimizer
        changes them without a trace)."""
        self.learnt = self.learnt or torch.is_grad_enabled()
        weights = [weight for weight in weights if weight is not None]
        if self.learnt or torch.compiler.is_compiling() or len(weights) != len(self.made_of):
            return False
        return all(
            now.data_ptr() == then.data_ptr() and now.shape == then.shape and now.stride() == then.stride() and then._version == version
            for now, then, version in zip(weights, self.made_of, self.versions, strict=True)
        )


class PackedProduct(StandIn):
    """Of a linear layer: its weight in the order in which the processor reads it."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype):
        super().__init__(layer, [layer.weight, layer.bias])
        self.dtype = dtype
        self.multiply = packed_product(layer.weight.detach(), None if layer.bias is None else layer.bias.detach(), dtype)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out), in the precision that was packed for; anything else as the layer itself does."""
        weight, bias = self.layer.weight, self.layer.bias
        if not self.is_right([weight, bias]) or not computes_in(self.dtype) or states.dtype not in (torch.float32, self.dtype):
            return functional.linear(states, weight, bias)
        rows = states.to(self.dtype).reshape(-1, self.layer.in_features)
        return self.multiply(rows).view(*states.shape[:-1], self.layer.out_features)


def computes_in(dtype: torch.dtype) -> bool:
    """Whether layers with weights in float32 compute here and now in this precision: bf16 where autocast says so."""
    return torch.is_autocast_enabled("cpu") == (dtype == torch.bfloat16)
