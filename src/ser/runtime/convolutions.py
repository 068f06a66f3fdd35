"""Convolutions over time, of networks that only predict on a CPU, by quicker steps than torch's.

In bf16 torch sorts a clip from channel after channel to frame after frame and back for each of them. With AMX (Intel Xeon) that took a
third of the time of wav2vec2-base: where frames follow each other from the first layer on, each convolution is one product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from ser.runtime.clips_in_a_row import row_here
from ser.runtime.folded_norm import fold_norm, is_normed, windows_of
from ser.runtime.products import ROUND, packed, product
from ser.runtime.stand_ins import StandIn, computes_in

LONG = 64
"""Taps from which on a convolution is quicker by Fourier transforms. The positional one of wav2vec2-base has 128: 5 ms instead of 13."""


class FramewiseConvolution(StandIn):
    """Of a convolution without padding, in bf16: one product, on rows of frames that overlap in memory."""

    def __init__(self, layer: nn.Conv1d):
        super().__init__(layer, [layer.weight, layer.bias])
        self.weight = packed(torch.cat(layer.weight.detach().unbind(2), 1), torch.bfloat16)
        self.bias = None if layer.bias is None else layer.bias.detach().bfloat16()

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(1, in, T) -> (1, out, frames), frame after frame in memory; several clips at once as the layer itself does."""
        layer, (taps,), (stride,) = self.layer, self.layer.kernel_size, self.layer.stride
        fits = states.ndim == 3 and len(states) == 1 and states.shape[2] >= taps and computes_in(torch.bfloat16)
        if not self.is_right([layer.weight, layer.bias]) or not fits:
            return type(layer).forward(layer, states)
        rows = states[0].t().bfloat16().contiguous()
        frames, channels = (len(rows) - taps) // stride + 1, rows.shape[1]
        heard = rows.as_strided((frames, taps * channels), (stride * channels, 1))
        return product(heard, self.weight, self.bias).t()[None]


class RoundedFrames(StandIn):
    """Of wav2vec2's feature encoder: it hears so many samples that the frames are a multiple of `ROUND`, and gives the clip's own frames.

    None of its convolutions pads, so that a frame hears its own samples alone. Where the channels of the first one are normed over time,
    their mean and variance follow from those of the windows of 10 samples in the clip itself; the norm then goes with the weights.
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype):
        super().__init__(layer, [])
        self.dtype = dtype

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (1, channels, frames); of clips in a row (B, samples) all frames, several others as the layer itself does."""
        if row := row_here():
            return torch.cat([self._of_clip(clip[None, :samples]) for clip, samples in zip(wave, row.samples, strict=True)], 2)
        if len(wave) > 1 or self._frames(wave.shape[-1]) < 1 or not self.fits():
            return type(self.layer).forward(self.layer, wave)
        return self._of_clip(wave)

    def fits(self) -> bool:
        """Whether clips are heard as the layer hears them, here and now."""
        return self.is_right([]) and computes_in(self.dtype)

    def _of_clip(self, wave: torch.Tensor) -> torch.Tensor:
        frames = self._frames(wave.shape[-1])
        rounded = functional.pad(wave, (0, self._samples(frames + -frames % ROUND[self.dtype]) - wave.shape[1]))
        first, *others = self.layer.conv_layers
        states = _normed(first, wave, rounded) if is_normed(first) else first(rounded[:, None])
        for layer in others:
            states = layer(states)
        return states[..., :frames]

    def _frames(self, samples: int) -> int:
        for layer in self.layer.conv_layers:
            samples = max(0, (samples - layer.conv.kernel_size[0]) // layer.conv.stride[0] + 1)
        return samples

    def _samples(self, frames: int) -> int:
        for layer in reversed(self.layer.conv_layers):
            frames = (frames - 1) * layer.conv.stride[0] + layer.conv.kernel_size[0]
        return frames


def _normed(layer: nn.Module, wave: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """(1, channels, frames) of `rounded`, normed as those of `wave` would be, both (1, samples)."""
    half = torch.is_autocast_enabled("cpu")
    (weight,), (bias,) = fold_norm(layer.conv, layer.layer_norm, wave)
    with torch.autocast("cpu", enabled=False):
        if half:  # frame after frame in memory
            states = product(windows_of(layer.conv, rounded.float())[0], packed(weight, torch.float32), bias).bfloat16().t()[None]
        else:
            states = functional.conv1d(rounded[:, None], weight[:, None], bias, layer.conv.stride)
    return layer.activation(states)


class ComputedWeight(StandIn):
    """Of a convolution whose weight is computed (weight norm): computed once. torch's own cache is one for all threads and networks."""

    def __init__(self, layer: nn.Conv1d):
        super().__init__(layer, list(layer.parametrizations.weight.parameters()))
        with torch.no_grad():
            self.weight = layer.weight

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(B, in, T) -> (B, out, T)."""
        return self.convolve(states) if self.fits() else type(self.layer).forward(self.layer, states)

    def fits(self) -> bool:
        """Whether the weight is still the one that was computed."""
        computed = parametrize.is_parametrized(self.layer, "weight")
        return self.is_right(list(self.layer.parametrizations.weight.parameters()) if computed else [])

    def convolve(self, states: torch.Tensor) -> torch.Tensor:
        """(B, in, T) -> (B, out, T)."""
        return self.layer._conv_forward(states, self.weight, self.layer.bias)


class LongConvolution(ComputedWeight):
    """Of one with many taps and a stride of one: by Fourier transforms of stretches of twice its taps (overlap-save), in float32."""

    def __init__(self, layer: nn.Conv1d):
        super().__init__(layer)
        spectrum = torch.fft.rfft(self.weight, n=2 * self.weight.shape[2]).conj()  # (out, in of a group, frequencies)
        spectrum = spectrum.unflatten(0, (layer.groups, -1)).permute(3, 0, 2, 1).flatten(0, 1)
        self.weight = spectrum.resolve_conj().contiguous()  # (frequencies x groups, in of a group, out of a group)

    def convolve(self, states: torch.Tensor) -> torch.Tensor:
        """(B, in, T) -> (B, out, T), in bf16 where autocast says so. Of clips in a row each has its own T frames, and those beyond are
        zeros at the end."""
        row, beyond = row_here(), 2 * self.layer.padding[0] - self.layer.kernel_size[0] + 1
        if row is None:
            made = self._of_clips([states])[0]
        else:
            clips = self._of_clips(states.split(list(row.frames), 2))
            own = [clip[..., :frames] for clip, frames in zip(clips, row.frames, strict=True)]
            made = functional.pad(torch.cat(own, 2), (0, beyond))
        return made.bfloat16() if torch.is_autocast_enabled("cpu") else made

    def _of_clips(self, clips: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(B, in, T) of each clip -> (B, out, frames); the stretches of all of them are one product."""
        layer, (taps,), (padding,) = self.layer, self.layer.kernel_size, self.layer.padding
        batch, step = len(clips[0]), taps + 1
        frames = [clip.shape[2] + 2 * padding - taps + 1 for clip in clips]
        stretches = [-(-count // step) for count in frames]
        widths = [(padding, count * step + taps - 1 - padding - clip.shape[2]) for clip, count in zip(clips, stretches, strict=True)]
        heard = [functional.pad(clip.float(), width).unfold(2, 2 * taps, step) for clip, width in zip(clips, widths, strict=True)]
        heard = torch.fft.rfft(torch.cat(heard, 2)).unflatten(1, (layer.groups, -1)).permute(4, 1, 0, 3, 2)
        made = torch.bmm(heard.reshape(len(self.weight), batch * sum(stretches), -1), self.weight)
        made = torch.fft.irfft(made.view(step, layer.groups, batch, sum(stretches), -1), dim=0)[:step]
        made = made.permute(2, 1, 4, 3, 0).flatten(1, 2)  # (B, out, stretches, step)
        made = made if layer.bias is None else made + layer.bias[:, None, None]
        return [own.flatten(2)[..., :count] for own, count in zip(made.split(stretches, 2), frames, strict=True)]


def computed_once(layer: nn.Module, by_fourier: bool) -> ComputedWeight | None:
    """What stands in for a convolution whose weight is computed; None for any other layer."""
    if not isinstance(layer, nn.Conv1d) or not parametrize.is_parametrized(layer, "weight"):
        return None
    (taps,), padding, weight = layer.kernel_size, layer.padding, layer.parametrizations.weight.original0
    plain = layer.stride == layer.dilation == (1,) and layer.padding_mode == "zeros" and not isinstance(padding, str) and padding[0] < taps
    long = by_fourier and plain and taps >= LONG and weight.device.type == "cpu" and weight.dtype == torch.float32
    return LongConvolution(layer) if long else ComputedWeight(layer)


def is_plain(layer: nn.Module) -> bool:
    """Whether it is a convolution over time, of all channels, that hears nothing but the clip."""
    return type(layer) is nn.Conv1d and (layer.groups, layer.dilation, layer.padding) == (1, (1,), (0,))


def is_feature_encoder(layer: nn.Module) -> bool:
    """Whether it is one as `RoundedFrames` stands in for."""
    convolutions = [getattr(part, "conv", None) for part in getattr(layer, "conv_layers", [])]
    return bool(convolutions) and all(map(is_plain, convolutions)) and convolutions[0].in_channels == 1
