"""Networks on frames of spectral features: their frontend, their file form, and layers that don't hear padding.

Padding is zero after every layer, as convolutions have it beyond a clip's ends, and no statistic counts it. So the
prediction of a clip doesn't depend on the lengths of its batch mates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from ser.audio import SAMPLE_RATE
from ser.data.utterance import Utterance
from ser.features.spectral import Spectrum, log_mel, mfcc
from ser.models.base import SerModel
from ser.models.frames.standards import Standards, standard_of
from ser.runtime.errors import UserError

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class FrameFrontend:
    """Wave -> standardised frames: log-mel, or MFCC where a number of coefficients is given."""

    spectrum: Spectrum
    coefficients: int | None
    max_samples: int
    standards: Standards
    min_frames: int = 1
    max_frames: int | None = None
    """Longer clips are cut to the stretch of this many frames with the most energy."""

    @property
    def features_name(self) -> str:
        """Of what `features` makes of clips, which doesn't depend on the training part."""
        return f"{self.spectrum} {self.coefficients} {self.max_samples} {self.min_frames} {self.max_frames}"

    def prepare(self, clip: Utterance, features: np.ndarray | None = None) -> np.ndarray:
        """Samples (T,) -> (frames, features) float32, standardised for the clip's voice (pooled when unknown).

        features: what `features` made of the samples, where it is at hand.
        """
        return self.standards.of(clip).apply(self.features(clip.samples) if features is None else features)

    def features(self, wave: np.ndarray) -> np.ndarray:
        """(T,) float32 -> (frames, features) float32, before standardising."""
        wave = np.asarray(wave, dtype=np.float32)[: self.max_samples]
        least = (self.min_frames - 1) * self.spectrum.hop + 1
        wave = np.pad(wave, (0, max(0, least - len(wave))))
        if self.coefficients is None:
            frames = log_mel(wave, self.spectrum).numpy()
            level = frames.mean(axis=1)
        else:
            frames = mfcc(wave, self.spectrum, self.coefficients).numpy()
            level = frames[:, 0]  # the zeroth coefficient is the mean level in dB, up to a factor
        if self.max_frames is not None and len(frames) > self.max_frames:
            frames = frames[_loudest_stretch(level, self.max_frames) :][: self.max_frames]
        return np.ascontiguousarray(frames)

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad with zeros, which is the mean: `frames` (B, T, features) and `mask` (B, T), true for real frames."""
        lengths = torch.tensor([len(clip) for clip in clips])
        frames = nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
        return {"frames": frames, "mask": torch.arange(frames.shape[1]) < lengths[:, None]}


def _loudest_stretch(level: np.ndarray, length: int) -> int:
    """Where the stretch of `length` frames with the highest mean level begins."""
    sums = np.cumsum(np.concatenate([[0.0], level.astype(np.float64)]))
    return int(np.argmax(sums[length:] - sums[:-length]))


class FrameModel(SerModel):
    """A network on frames. A subclass sets `frontend` and fills in `logits`."""

    frontend: FrameFrontend

    def __init__(self, kind: str, label_names: Sequence[str], max_seconds: float, settings: dict, spec_augment: SpecAugment):
        """settings: JSON values from which the subclass's `load` makes the same network again."""
        super().__init__(kind, label_names, max_seconds, exact_length=False)
        self.settings = settings
        self.spec_augment = spec_augment

    @abstractmethod
    def logits(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, features), zero where the boolean mask (B, T) is false -> (B, n_labels)."""

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        return self.logits(self.spec_augment(frames, mask), mask).float()

    def fit_statistics(self, clips: Iterable[Utterance], labels: np.ndarray) -> None:
        """Mean and standard deviation of each feature over all frames of the training part."""
        pooled = standard_of(self.frontend.features(clip.samples) for clip in clips)
        self.frontend = replace(self.frontend, standards=Standards(pooled))

    def _write(self, folder: Path) -> dict:
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / WEIGHTS)
        return {"settings": self.settings, "standards": self.frontend.standards.as_json()}


def open_saved(network: Callable[..., FrameModel], folder: Path, card: dict) -> FrameModel:
    """The network that `FrameModel.save` wrote to the folder. Raises UserError when parts are missing or don't fit."""
    try:
        model = network(card["label_names"], card["max_seconds"], **card["settings"])
        model.load_state_dict(load_file(folder / WEIGHTS), strict=True)
        model.frontend = replace(model.frontend, standards=Standards.from_json(card["standards"]))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} holds no whole {card['kind']} model: {' '.join(str(error).split())[:300]}") from None
    return model


def max_samples(max_seconds: float) -> int:
    """The longest clip in samples."""
    return round(max_seconds * SAMPLE_RATE)


class SpecAugment(nn.Module):
    """Hides two stretches of frames and two of features of each clip in training (Park et al. 2019, arXiv 1904.08779).

    A stretch is uniform between nothing and the share, so that on average the share is hidden in all. Hidden values become
    zero, the mean. Draws from torch's global generator, which the training loop seeds before every batch.
    """

    def __init__(self, time_share: float, feature_share: float):
        super().__init__()
        self.time_share, self.feature_share = float(time_share), float(feature_share)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, features), mask (B, T) -> the same with stretches of each clip set to zero."""
        if not self.training:
            return frames
        if self.time_share:
            frames = frames * ~_stretches(mask.sum(1), mask.shape[1], self.time_share).unsqueeze(2)
        if self.feature_share:
            sizes = torch.full((len(frames),), frames.shape[2], device=frames.device)
            frames = frames * ~_stretches(sizes, frames.shape[2], self.feature_share).unsqueeze(1)
        return frames


def _stretches(lengths: torch.Tensor, size: int, share: float, count: int = 2) -> torch.Tensor:
    """(B, size), true within `count` random stretches of each row, which lie inside the row's length."""
    widths = torch.rand(len(lengths), count, device=lengths.device) * share * lengths[:, None]
    starts = torch.rand(len(lengths), count, device=lengths.device) * (lengths[:, None] - widths)
    places = torch.arange(size, device=lengths.device)[None, None]
    # A place is hidden when its middle is, so that the mean width is kept.
    return ((places + 0.5 >= starts[..., None]) & (places + 0.5 < (starts + widths)[..., None])).any(1)


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm per channel over real frames only; padding comes out as zero.

    As with any batch norm, its training statistics are those of one forward pass, so with `train.accumulation` they are of
    the smaller batches.
    """

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, C, T) or (B, C, T, F) and a boolean mask (B, T) -> the same shape."""
        if not self.training:  # each frame by itself, so padding has no say in it
            normed = F.batch_norm(values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
            return normed * mask[:, None, :, None] if values.ndim == 4 else normed * mask[:, None]
        frames = values.transpose(1, 2)
        normed = super().forward(frames[mask])
        result = torch.zeros(frames.shape, dtype=normed.dtype, device=normed.device)
        return result.index_put((mask,), normed).transpose(1, 2)


class ConvBlock(nn.Module):
    """3×3 convolution, max pooling, batch norm, ReLU, channel dropout; padding stays zero.

    Pooled before the norm: the maximum is the same but for channels with a negative scale, at a quarter of the cost.
    """

    def __init__(self, inputs: int, outputs: int, pool: tuple[int, int], dropout: float):
        """pool: (time, features), by how much each is shortened."""
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = MaskedBatchNorm(outputs)
        self.pool = pool
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, T, F), mask (B, T) -> (B, C', T', F') and its mask; a clip keeps the frames it would have alone."""
        values = F.max_pool2d(self.convolution(values), self.pool)
        lengths = mask.sum(1) // self.pool[0]
        mask = torch.arange(values.shape[2], device=mask.device) < lengths[:, None]
        return self.dropout(F.relu(self.norm(values, mask))), mask


class Recurrent(nn.Module):
    """A recurrent layer that runs over the real frames of each clip, backwards from its last one."""

    def __init__(self, layer: nn.RNNBase):
        super().__init__()
        self.layer = layer

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, D), mask (B, T) -> states (B, T, directions × hidden), zero in the padding."""
        packed = nn.utils.rnn.pack_padded_sequence(frames, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = self.layer(packed)
        return nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=frames.shape[1])[0]


def masked_mean_max(frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, T, D), mask (B, T) -> (B, 2 D): mean and maximum over real frames."""
    real = mask.unsqueeze(2)
    mean = (frames * real).sum(1) / real.sum(1)
    return torch.cat([mean, frames.masked_fill(~real, float("-inf")).amax(1)], dim=1)
