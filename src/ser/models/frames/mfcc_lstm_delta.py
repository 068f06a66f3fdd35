"""13 MFCC × 100 frames as differences to a neutral voice, Conv1D, a bidirectional LSTM.

The delta baseline: mean and standard deviation of the MFCC of neutral speech, of all voices, of each gender or of each
speaker. The network sees (x - mean) / deviation: how the clip differs from that voice at rest. Baselines come from the
neutral clips of the fold's training part alone and are saved with the model; a voice that isn't in it, or whose
neutral clips aren't, has the pooled one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.features.spectral import Spectrum
from ser.models.frames.frames import (
    FrameFrontend,
    FrameModel,
    MaskedBatchNorm,
    Recurrent,
    SpecAugment,
    masked_mean_max,
    max_samples,
    open_saved,
)
from ser.models.frames.standards import Moments, Standards, unit_standard
from ser.runtime.errors import UserError

SPECTRUM = Spectrum(window=1024, hop=512, mels=40)
COEFFICIENTS = 13
FRAMES = 100  # 3.2 s


class MfccLstmDelta(FrameModel):
    """Two convolutions over time, then the LSTM, then mean and maximum of its states."""

    def __init__(
        self,
        label_names: Sequence[str],
        max_seconds: float,
        baseline: str,
        channels: int,
        hidden: int,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        mask_shares: tuple[float, float] = (0.0, 0.0),
    ):
        settings = {"baseline": baseline, "channels": channels, "hidden": hidden}
        super().__init__("mfcc_lstm_delta", label_names, max_seconds, settings, SpecAugment(*mask_shares))
        self.baseline = baseline
        self.convolutions = nn.ModuleList(nn.Conv1d(inputs, channels, 5, padding=2, bias=False) for inputs in (COEFFICIENTS, channels))
        self.norms = nn.ModuleList(MaskedBatchNorm(channels) for _ in self.convolutions)
        self.between = nn.Dropout1d(dropout)
        self.recurrent = Recurrent(nn.LSTM(channels, hidden, batch_first=True, bidirectional=True))
        self.dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear(4 * hidden, len(label_names))
        standards = Standards(unit_standard(COEFFICIENTS))
        self.frontend = FrameFrontend(SPECTRUM, COEFFICIENTS, max_samples(max_seconds), standards, max_frames=FRAMES)

    @property
    def uses_voices(self) -> bool:
        """Whether a clip's features depend on whose voice it is."""
        return self.baseline != "pooled"

    def logits(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, 13), mask (B, T) -> (B, n_labels)."""
        values = frames.transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            values = F.relu(norm(convolution(values), mask))
        states = self.recurrent(self.between(values).transpose(1, 2), mask)
        return self.classifier(self.dropout(masked_mean_max(states, mask)))

    def fit_statistics(self, clips: Iterable[Utterance], labels: np.ndarray) -> None:
        """The neutral baselines, from the neutral clips of the training part. Raises UserError where there are none."""
        if "neutral" not in self.label_names:
            raise UserError(
                f"model.kind mfcc_lstm_delta compares with neutral speech, but the labels are {', '.join(self.label_names)}. "
                "Choose another model.kind."
            )
        by = self.baseline if self.uses_voices else None
        neutral = self.label_names.index("neutral")
        pooled, of_voice, names = Moments(), {}, set()
        for label, clip in zip(labels, clips, strict=True):
            name = None if by is None else getattr(clip, by)
            names.add(name)
            if label == neutral:
                features = self.frontend.features(clip.samples)
                pooled.add(features)
                if name is not None:
                    of_voice.setdefault(name, Moments()).add(features)
        if by is not None and names <= {None}:
            raise UserError(
                f"model.mfcc_lstm_delta.baseline: given {by}, but no {by} is known. Give a CSV `id,speaker,gender` with --data.speakers, "
                "or use pooled."
            )
        if not pooled.frames:
            raise UserError("model.kind mfcc_lstm_delta compares with neutral speech, but no neutral clip is in the training part.")
        standards = {name: moments.standard() for name, moments in sorted(of_voice.items())}
        self.frontend = replace(self.frontend, standards=Standards(pooled.standard(), by, standards))


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> MfccLstmDelta:
    """A network with new weights; see `ser.models.registry.build_model`."""
    own = config.mfcc_lstm_delta
    masks = config.mask_time_prob, config.mask_feature_prob
    return MfccLstmDelta(
        label_names, max_seconds, own.baseline, int(own.channels), int(own.hidden), own.dropout, config.head_dropout, masks
    )


def load(folder: Path, card: dict) -> FrameModel:
    """Open what `MfccLstmDelta.save` wrote."""
    return open_saved(MfccLstmDelta, folder, card)
