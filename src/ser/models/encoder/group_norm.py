"""Group norm over each clip's own frames, so that clips of different length can share a batch in prediction; as part of the convolution
before it where a CPU trains.

The feature encoder of wav2vec2-base and its like normalises each channel over the whole time axis, padding included. Its first layer is
the only one that does, and no later convolution pads: normalised over its own frames, a clip comes out as it does alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ser.runtime.folded_norm import fold_norm, is_normed, windows_of

_own_frames: ContextVar[torch.Tensor | None] = ContextVar("own_frames", default=None)  # one model may serve several threads

MANY = 128
"""Channels from which on the norm goes with the weights. The statistics of the windows cost the same for any number of channels: 14 ms of
eight clips, where the norm of 512 takes about 105 (an Intel Xeon); a network of 32 was slower with them."""


class OwnFramesNorm(nn.GroupNorm):
    """torch's group norm of one channel a group, within `over_own_frames` over the first frames of each clip."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, channels, frames) -> the same shape; what lies behind a clip's own frames is of no meaning."""
        own_frames = _own_frames.get()
        if own_frames is None or states.shape[0] == 1:
            return super().forward(states)
        own = torch.arange(states.shape[-1], device=states.device) < own_frames[:, None]
        shares = (own / own_frames[:, None])[..., None]  # (B, frames, 1): what a frame counts for in its clip's mean
        with torch.autocast(states.device.type, enabled=False):
            values = states.float()
            centred = values - values @ shares
            scale = torch.rsqrt(centred.square() @ shares + self.eps) * self.weight[:, None]
            return torch.addcmul(self.bias[:, None], centred, scale).to(states.dtype)


class NormedConvolution(GradientCheckpointingLayer):
    """The first layer of such a feature encoder, by transformers' names; where a CPU trains, its norm goes with its weights."""

    def __init__(self, layer: GradientCheckpointingLayer):
        super().__init__()
        self.conv, self.layer_norm, self.activation = layer.conv, layer.layer_norm, layer.activation
        for name in vars(layer).keys() & {"gradient_checkpointing", "_gradient_checkpointing_func"}:
            setattr(self, name, getattr(layer, name))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        """(B, 1, samples) -> (B, channels, frames). In training every frame counts, a shorter clip's silence as well."""
        training = torch.is_grad_enabled() and wave.is_leaf and wave.device.type == "cpu" and not torch.compiler.is_compiling()
        if not training or not is_normed(self) or self.conv.out_channels < MANY or _own_frames.get() is not None:
            return self.activation(self.layer_norm(self.conv(wave)))
        wave = wave.detach()[:, 0]  # a leaf that gradient checkpointing marked as learnt: nobody reads its gradient
        weights, biases = fold_norm(self.conv, self.layer_norm, wave)
        with torch.autocast("cpu", enabled=False):
            states = torch.baddbmm(biases[:, None], windows_of(self.conv, wave), weights.transpose(1, 2))
        states = states.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else states
        return self.activation(states.transpose(1, 2))


def norm_own_frames(encoder: PreTrainedModel) -> None:
    """Put `OwnFramesNorm` in the place of the group norm in the feature encoder, with the same weights."""
    first = encoder.feature_extractor.conv_layers[0]
    norm = OwnFramesNorm(first.layer_norm.num_groups, first.layer_norm.num_channels, first.layer_norm.eps)
    norm.weight, norm.bias = first.layer_norm.weight, first.layer_norm.bias
    first.layer_norm = norm.train(first.training)
    encoder.feature_extractor.conv_layers[0] = NormedConvolution(first).train(first.training)


@contextmanager
def over_own_frames(encoder: PreTrainedModel, own_samples: torch.Tensor) -> Iterator[None]:
    """Within it, clips (B,) of so many samples are normalised each by itself."""
    kernel, stride = encoder.config.conv_kernel[0], encoder.config.conv_stride[0]
    before = _own_frames.set((own_samples - kernel) // stride + 1)
    try:
        yield
    finally:
        _own_frames.reset(before)
