"""Self-attention of networks that only predict on a CPU: queries, keys and values by one product, each clip of a row by itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ser.runtime.clips_in_a_row import row_here
from ser.runtime.products import packed_product
from ser.runtime.stand_ins import StandIn, computes_in

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_KNOWN = {"Wav2Vec2Attention", "HubertAttention", "UniSpeechAttention", "UniSpeechSatAttention", "Data2VecAudioAttention"}
"""Of transformers, copies of each other. Whisper's is another (it knows a cache), and so is WavLM's (it knows distances)."""


class OwnAttention(StandIn):
    """Of a layer's self-attention, by SDPA."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype):
        super().__init__(layer, _weights(layer))
        self.dtype, self.parts = dtype, [getattr(layer, name) for name in _PROJECTIONS]
        weights, biases = ([getattr(part, kind).detach() for part in self.parts] for kind in ("weight", "bias"))
        self.project = packed_product(torch.cat(weights), torch.cat(biases), dtype)

    def __call__(
        self, hidden_states: torch.Tensor, key_value_states: None = None, attention_mask: torch.Tensor | None = None, **others
    ) -> tuple[torch.Tensor, None]:
        """(B, T, D) -> (B, T, D) and no weights; where clips are in a row, B is one and T all their frames."""
        layer, row = self.layer, row_here()
        if row is None and (key_value_states is not None or not self.fits(hidden_states.dtype)):
            return type(layer).forward(layer, hidden_states, key_value_states, attention_mask, **others)
        heads = self._heads(hidden_states)
        if row is None:
            heard = _attend(heads, attention_mask, layer.scaling)
        else:
            heard = torch.cat([_attend(clip, None, layer.scaling) for clip in heads.split(list(row.frames), 3)], 1)
        return layer.out_proj(heard), None

    def fits(self, dtype: torch.dtype = torch.float32) -> bool:
        """Whether states of this dtype are heard as the layer hears them, here and now."""
        layer = self.layer
        if not self.is_right(_weights(layer)) or layer.training or layer.config._attn_implementation != "sdpa":
            return False
        same = all(getattr(layer, name) is part and not part._forward_hooks for name, part in zip(_PROJECTIONS, self.parts, strict=True))
        return same and dtype in (torch.float32, self.dtype) and computes_in(self.dtype)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> queries, keys and values (3, B, heads, T, size)."""
        rows = states.to(self.dtype).reshape(-1, states.shape[-1])
        return self.project(rows).view(*states.shape[:-1], 3, self.layer.num_heads, -1).permute(2, 0, 3, 1, 4)


def is_self_attention(layer: nn.Module) -> bool:
    """Whether it is one as `OwnAttention` stands in for."""
    if type(layer).__name__ not in _KNOWN or not type(layer).__module__.startswith("transformers."):
        return False
    parts = [getattr(layer, name, None) for name in (*_PROJECTIONS, "out_proj")]
    return all(type(part) is nn.Linear and part.bias is not None for part in parts)


def projections(layer: nn.Module) -> set[nn.Module]:
    """The layers whose products are one."""
    return {getattr(layer, name) for name in _PROJECTIONS}


def _weights(layer: nn.Module) -> list[torch.Tensor]:
    return [weight for part in (layer.q_proj, layer.k_proj, layer.v_proj) for weight in (part.weight, part.bias)]


def _attend(heads: torch.Tensor, mask: torch.Tensor | None, scaling: float) -> torch.Tensor:
    """Queries, keys and values (3, B, heads, T, size) -> (B, T, D)."""
    return functional.scaled_dot_product_attention(*heads, attn_mask=mask, scale=scaling).transpose(1, 2).flatten(2)
