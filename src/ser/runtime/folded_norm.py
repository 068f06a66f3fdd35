"""Group norm behind the first convolution of a feature encoder, one channel a group, as part of that convolution's weights.

A convolution of one channel is a product of windows of the wave, so that mean and variance of what it makes follow from those of the
windows: 10 numbers and 10 x 10 for wav2vec2-base, whose 512 channels then needn't be read again for them.
"""

from __future__ import annotations

import torch
from torch import nn


def windows_of(conv: nn.Conv1d, wave: torch.Tensor) -> torch.Tensor:
    """(B, samples) -> (B, frames, taps): what each frame hears; a view."""
    return wave.unfold(1, conv.kernel_size[0], conv.stride[0])


def fold_norm(conv: nn.Conv1d, norm: nn.GroupNorm, wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (B, channels, taps) and biases (B, channels), by which windows of the wave (B, samples) come out normed over its frames."""
    with torch.autocast(wave.device.type, enabled=False):
        windows, weight = windows_of(conv, wave).double(), conv.weight[:, 0].double()
        mean = windows.mean(1, keepdim=True)
        centred = windows - mean
        covariance = centred.transpose(1, 2) @ centred / centred.shape[1]
        variance = ((weight @ covariance) * weight).sum(2)
        scale = norm.weight.double() * torch.rsqrt(variance + norm.eps)
        bias = norm.bias - scale * (mean @ weight.t())[:, 0]  # the convolution's own takes no part: the norm removes it
        return (weight * scale[..., None]).float(), bias.float()


def is_normed(layer: nn.Module) -> bool:
    """Whether it is a convolution of a wave with a group norm of one channel a group behind it."""
    conv, norm = getattr(layer, "conv", None), getattr(layer, "layer_norm", None)
    normed = isinstance(norm, nn.GroupNorm) and norm.affine and norm.num_groups == norm.num_channels
    return normed and type(conv) is nn.Conv1d and (conv.in_channels, conv.padding, conv.dilation) == (1, (0,), (1,))
