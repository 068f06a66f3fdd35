"""Log-mel spectrogram, 2-D convolutions, a bidirectional GRU over their frames, attentive statistics pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from ser.config import ModelConfig, as_plain
from ser.features.spectral import Spectrum
from ser.models.encoder.pooling import AttentiveStatistics
from ser.models.frames.frames import ConvBlock, FrameFrontend, FrameModel, Recurrent, SpecAugment, max_samples, open_saved
from ser.models.frames.standards import Standards, unit_standard

SPECTRUM = Spectrum(window=512, hop=256, mels=64)


class LogmelCrnn(FrameModel):
    """Bands × frames as an image of one channel, then what is left of its bands as a sequence."""

    def __init__(
        self,
        label_names: Sequence[str],
        max_seconds: float,
        channels: Sequence[int],
        hidden: int,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        mask_shares: tuple[float, float] = (0.0, 0.0),
    ):
        settings = {"channels": list(channels), "hidden": hidden}
        super().__init__("logmel_crnn", label_names, max_seconds, settings, SpecAugment(*mask_shares))
        pools = [(2, 2), (2, 2)] + [(1, 2)] * len(channels)
        self.blocks = nn.ModuleList(
            ConvBlock(inputs, outputs, pool, dropout) for (inputs, outputs), pool in zip(pairwise([1, *channels]), pools, strict=False)
        )
        self.recurrent = Recurrent(nn.GRU(channels[-1] * (SPECTRUM.mels >> len(channels)), hidden, batch_first=True, bidirectional=True))
        self.pooling = AttentiveStatistics(2 * hidden)
        self.dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear(4 * hidden, len(label_names))
        standards = Standards(unit_standard(SPECTRUM.mels))
        self.frontend = FrameFrontend(SPECTRUM, None, max_samples(max_seconds), standards, min_frames=4)

    def logits(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, 64), mask (B, T) -> (B, n_labels)."""
        values = frames.unsqueeze(1)
        for block in self.blocks:
            values, mask = block(values, mask)
        states = self.recurrent(values.transpose(1, 2).flatten(2), mask)
        return self.classifier(self.dropout(self.pooling(states, mask)))


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> LogmelCrnn:
    """A network with new weights; see `ser.models.registry.build_model`."""
    own = config.logmel_crnn
    masks = config.mask_time_prob, config.mask_feature_prob
    return LogmelCrnn(label_names, max_seconds, as_plain(own.channels), own.hidden, own.dropout, config.head_dropout, masks)


def load(folder: Path, card: dict) -> FrameModel:
    """Open what `LogmelCrnn.save` wrote."""
    return open_saved(LogmelCrnn, folder, card)
