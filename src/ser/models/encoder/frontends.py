"""From waves to what a transformers encoder takes; the same maths as the checkpoint's own feature extractor.

Four kinds of input exist: the wave itself (Wav2Vec2, HuBERT, WavLM, data2vec, ...), a log-mel spectrogram (Whisper), Kaldi's filter
bank, two frames at once (w2v-BERT), and Kaldi's filter bank of ten seconds (AST). All work clip by clip, so neighbours in a batch can't
change a clip's features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ser.audio import SAMPLE_RATE
from ser.data.utterance import Utterance
from ser.models.encoder.masking import AST, norms_over_time, takes_mask
from ser.models.encoder.own_length import log_mel

if TYPE_CHECKING:
    from transformers import (
        ASTFeatureExtractor,
        PreTrainedConfig,
        SeamlessM4TFeatureExtractor,
        SequenceFeatureExtractor,
        WhisperFeatureExtractor,
    )

_FILTER_BANK_SAMPLES = 560  # 25 ms and a step of 10 ms: the two frames that make the encoder's one
_FRAME_SAMPLES, _FRAME_HOP = 400, 160  # 25 ms every 10 ms


@dataclass(frozen=True)
class Waveform:
    """Normalised wave, as Wav2Vec2FeatureExtractor makes it."""

    max_samples: int
    min_samples: int
    """The convolutional stack's receptive field: one output frame (400 samples for the usual sizes)."""
    normalize: bool
    """Zero mean and unit variance for each clip by itself, before any padding."""
    mask: bool
    """Whether the checkpoint takes an attention mask."""
    lengths: bool = False
    """Whether the network wants to know how long each clip is, though the checkpoint takes no mask."""

    def prepare(self, clip: Utterance) -> np.ndarray:
        """Samples (T,) -> (T,) float32; cut to `max_samples`, zeros appended up to `min_samples`."""
        wave = np.asarray(clip.samples, dtype=np.float32)[: self.max_samples]
        if self.normalize and len(wave):
            wave = wave - wave.mean()
            wave /= np.sqrt(np.square(wave).mean() + 1e-7)
        return wave if len(wave) >= self.min_samples else np.pad(wave, (0, self.min_samples - len(wave)))

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad with zeros on the right: `input_values` (B, T), and `attention_mask` (B, T) or `own_samples` (B,) where asked for."""
        lengths = [len(clip) for clip in clips]
        waves = torch.zeros(len(clips), max(lengths))
        for row, clip in zip(waves, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        batch = {"input_values": waves}
        if self.mask:
            batch["attention_mask"] = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        if self.lengths:
            batch["own_samples"] = torch.tensor(lengths)
        return batch


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrogram of Whisper's own extractor."""

    extractor: WhisperFeatureExtractor
    own_length: bool = True
    """On the clip's own length; else padded with silence to the extractor's `chunk_length`, as classifiers from elsewhere were trained."""

    def prepare(self, clip: Utterance) -> np.ndarray:
        """Samples (T,) -> (frames, mel bins) float32, an even number of frames; cut to the extractor's `chunk_length` seconds."""
        if self.own_length:
            return np.ascontiguousarray(log_mel(self.extractor, clip.samples).T)
        wave = np.asarray(clip.samples, dtype=np.float32)[: self.extractor.n_samples]
        return np.ascontiguousarray(self.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0].T)

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`input_features` (B, mel bins, frames), padded with zeros, and `attention_mask` (B, frames)."""
        lengths = torch.tensor([len(clip) for clip in clips])
        features = torch.zeros(len(clips), clips[0].shape[1], int(lengths.max()))
        for row, clip in zip(features, clips, strict=True):
            row[:, : len(clip)] = torch.from_numpy(clip.T)
        return {"input_features": features, "attention_mask": (torch.arange(features.shape[2]) < lengths[:, None]).long()}


@dataclass(frozen=True)
class FilterBank:
    """Kaldi's log-mel filter bank, standardised by mel bin, two frames of 10 ms side by side: w2v-BERT's own extractor."""

    extractor: SeamlessM4TFeatureExtractor
    max_samples: int

    def prepare(self, clip: Utterance) -> np.ndarray:
        """Samples (T,) -> (frames of 20 ms, 2 mel bins) float32; a last frame that is half padding is left out, as its mask would."""
        wave = np.asarray(clip.samples, dtype=np.float32)[: self.max_samples]
        wave = np.pad(wave, (0, max(0, _FILTER_BANK_SAMPLES - len(wave))))
        made = self.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="np")
        return made["input_features"][0][: int(made["attention_mask"][0].sum())]

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`input_features` (B, frames, 2 mel bins), padded with zeros, and `attention_mask` (B, frames)."""
        lengths = torch.tensor([len(clip) for clip in clips])
        features = torch.zeros(len(clips), int(lengths.max()), clips[0].shape[1])
        for row, clip in zip(features, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        return {"input_features": features, "attention_mask": (torch.arange(features.shape[1]) < lengths[:, None]).long()}


@dataclass(frozen=True)
class TenSeconds:
    """Kaldi's log-mel filter bank, filled up to the length that AST was trained with: the extractor's `max_length` frames of 10 ms."""

    extractor: ASTFeatureExtractor
    max_samples: int

    def prepare(self, clip: Utterance) -> np.ndarray:
        """Samples (T,) -> the clip's own frames (frames, mel bins) float32, as the extractor scales them."""
        wave = np.asarray(clip.samples, dtype=np.float32)[: self.max_samples]
        wave = np.pad(wave, (0, max(0, _FRAME_SAMPLES - len(wave))))
        own = 1 + (len(wave) - _FRAME_SAMPLES) // _FRAME_HOP
        return np.asarray(self.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_values"][0][:own], np.float32)

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`input_values` (B, `max_length`, mel bins), filled up as the extractor does, and `own_frames` (B,)."""
        nothing = float(self.extractor.normalize(np.zeros(1))[0]) if self.extractor.do_normalize else 0.0
        values = torch.full((len(clips), self.extractor.max_length, clips[0].shape[1]), nothing)
        for row, clip in zip(values, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        return {"input_values": values, "own_frames": torch.tensor([len(clip) for clip in clips])}


def frontend_of(
    config: PreTrainedConfig, extractor: SequenceFeatureExtractor, max_seconds: float, own_length: bool
) -> Waveform | LogMel | FilterBank | TenSeconds:
    """What an encoder of this config hears. own_length: of Whisper, without silence behind a clip."""
    if config.model_type == "whisper":
        return LogMel(extractor, own_length)
    if config.model_type == "wav2vec2-bert":
        return FilterBank(extractor, round(max_seconds * SAMPLE_RATE))
    if config.model_type == AST:
        return TenSeconds(extractor, round(min(max_seconds, longest_seconds(extractor)) * SAMPLE_RATE))
    return replace(waveform_frontend(config, extractor, max_seconds), lengths=norms_over_time(config))


def longest_seconds(extractor: SequenceFeatureExtractor) -> float:
    """How long an encoder with this extractor can listen at most; infinite for those that hear the wave."""
    if hasattr(extractor, "chunk_length"):
        return extractor.chunk_length
    frames = getattr(extractor, "max_length", None)
    return math.inf if frames is None else ((frames - 1) * _FRAME_HOP + _FRAME_SAMPLES) / SAMPLE_RATE


def waveform_frontend(config: PreTrainedConfig, extractor: SequenceFeatureExtractor, max_seconds: float) -> Waveform:
    """The frontend of an encoder that hears the wave."""
    return Waveform(
        max_samples=round(max_seconds * SAMPLE_RATE),
        min_samples=_receptive_field(config),
        normalize=bool(extractor.do_normalize),
        mask=takes_mask(config),
    )


def _receptive_field(config: PreTrainedConfig) -> int:
    """Samples the convolutions need for one frame."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
