"""40 MFCC (window and hop stand here) and a 2-D convolutional network: blocks of convolution, batch norm and dropout, then pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from ser.config import ModelConfig, as_plain
from ser.features.spectral import Spectrum
from ser.models.frames.frames import ConvBlock, FrameFrontend, FrameModel, SpecAugment, masked_mean_max, max_samples, open_saved
from ser.models.frames.standards import Standards, unit_standard

SPECTRUM = Spectrum(window=512, hop=256, mels=64)
COEFFICIENTS = 40


class MfccCnn(FrameModel):
    """Coefficients × frames as an image of one channel."""

    def __init__(
        self,
        label_names: Sequence[str],
        max_seconds: float,
        channels: Sequence[int],
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        mask_shares: tuple[float, float] = (0.0, 0.0),
    ):
        super().__init__("mfcc_cnn", label_names, max_seconds, {"channels": list(channels)}, SpecAugment(*mask_shares))
        self.blocks = nn.ModuleList(ConvBlock(inputs, outputs, (2, 2), dropout) for inputs, outputs in pairwise([1, *channels]))
        left = COEFFICIENTS >> len(channels)
        self.dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear(2 * channels[-1] * left, len(label_names))
        standards = Standards(unit_standard(COEFFICIENTS))
        self.frontend = FrameFrontend(SPECTRUM, COEFFICIENTS, max_samples(max_seconds), standards, min_frames=2 ** len(channels))

    def logits(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, 40), mask (B, T) -> (B, n_labels)."""
        values = frames.unsqueeze(1)
        for block in self.blocks:
            values, mask = block(values, mask)
        pooled = masked_mean_max(values.transpose(1, 2).flatten(2), mask)
        return self.classifier(self.dropout(pooled))


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> MfccCnn:
    """A network with new weights; see `ser.models.registry.build_model`."""
    own = config.mfcc_cnn
    masks = config.mask_time_prob, config.mask_feature_prob
    return MfccCnn(label_names, max_seconds, as_plain(own.channels), own.dropout, config.head_dropout, masks)


def load(folder: Path, card: dict) -> FrameModel:
    """Open what `MfccCnn.save` wrote."""
    return open_saved(MfccCnn, folder, card)
