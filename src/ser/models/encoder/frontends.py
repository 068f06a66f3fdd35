"""From waves to what a transformers encoder takes; the same maths as the checkpoint's own feature extractor.

Three kinds of input exist: the wave itself (Wav2Vec2, HuBERT, WavLM, data2vec, ...), a log-mel spectrogram (Whisper), and Kaldi's
filter bank, two frames at once (w2v-BERT). All work clip by clip, so neighbours in a batch can't change a clip's features.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ser.audio import SAMPLE_RATE
from ser.data.utterance import Utterance
from ser.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, SeamlessM4TFeatureExtractor, SequenceFeatureExtractor, WhisperFeatureExtractor

log = logging.getLogger(__name__)

WHISPER_POSITIONS_PER_SECOND = 50  # a mel frame every 10 ms, halved by the second convolution
SAMPLES_PER_POSITION = SAMPLE_RATE // WHISPER_POSITIONS_PER_SECOND

# Encoders where a masked, padded clip gives the same as the clip alone: one positional convolution over zeroed padding.
# data2vec-audio stacks five of them with norms between, which let padding leak into the last frames of a clip.
_MASK_IS_EXACT = {"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "wav2vec2-bert"}
_FILTER_BANK_SAMPLES = 560  # 25 ms and a step of 10 ms: the two frames that make the encoder's one


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

    def prepare(self, clip: Utterance) -> np.ndarray:
        """Samples (T,) -> (T,) float32; cut to `max_samples`, zeros appended up to `min_samples`."""
        wave = np.asarray(clip.samples, dtype=np.float32)[: self.max_samples]
        if self.normalize and len(wave):
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        return np.pad(wave, (0, max(0, self.min_samples - len(wave))))

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad with zeros on the right: `input_values` (B, T), and `attention_mask` (B, T) where the checkpoint takes one."""
        lengths = [len(clip) for clip in clips]
        waves = torch.zeros(len(clips), max(lengths))
        for row, clip in zip(waves, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        batch = {"input_values": waves}
        if self.mask:
            batch["attention_mask"] = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        return batch


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrogram of Whisper's own extractor."""

    extractor: WhisperFeatureExtractor
    own_length: bool = True
    """On the clip's own length; else padded with silence to the extractor's `chunk_length`, as classifiers from elsewhere were trained."""

    def prepare(self, clip: Utterance) -> np.ndarray:
        """Samples (T,) -> (frames, mel bins) float32, an even number of frames; cut to the extractor's `chunk_length` seconds."""
        wave = np.asarray(clip.samples, dtype=np.float32)[: self.extractor.n_samples]
        if self.own_length:
            wave = np.pad(wave, (0, max(SAMPLES_PER_POSITION, len(wave) + -len(wave) % SAMPLES_PER_POSITION) - len(wave)))
        padding = "do_not_pad" if self.own_length else "max_length"
        mel = self.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="np", padding=padding)["input_features"][0]
        return np.ascontiguousarray(mel.T)

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


def frontend_of(
    config: PreTrainedConfig, extractor: SequenceFeatureExtractor, max_seconds: float, own_length: bool
) -> Waveform | LogMel | FilterBank:
    """What an encoder of this config hears. own_length: of Whisper, without silence behind a clip."""
    if config.model_type == "whisper":
        return LogMel(extractor, own_length)
    if config.model_type == "wav2vec2-bert":
        return FilterBank(extractor, round(max_seconds * SAMPLE_RATE))
    return waveform_frontend(config, extractor, max_seconds)


def takes_mask(config: PreTrainedConfig) -> bool:
    """Whether the encoder was pretrained with an attention mask.

    Group norm in the feature encoder normalises over the whole time axis, padding included: those checkpoints saw padding
    as silence and no mask. See the notes of Wav2Vec2FeatureExtractor in transformers.
    """
    return getattr(config, "feat_extract_norm", "layer") == "layer" and config.model_type != "whisper"


def is_exact_length(config: PreTrainedConfig) -> bool:
    """Whether padding changes the logits even with the right mask, so that predictions need clips of equal length."""
    if config.model_type == "whisper":
        return False
    return not (takes_mask(config) and config.model_type in _MASK_IS_EXACT)


def waveform_frontend(config: PreTrainedConfig, extractor: SequenceFeatureExtractor, max_seconds: float) -> Waveform:
    """The frontend of an encoder that hears the wave."""
    return Waveform(
        max_samples=round(max_seconds * SAMPLE_RATE),
        min_samples=_receptive_field(config),
        normalize=bool(extractor.do_normalize),
        mask=takes_mask(config),
    )


def whisper_seconds(config: PreTrainedConfig, max_seconds: float) -> int:
    """Whole seconds a Whisper encoder will hear: no more than it has positions for, no more than the clips need."""
    available = config.max_source_positions // WHISPER_POSITIONS_PER_SECOND
    if available < 1:
        raise UserError(
            f"max_source_positions: given {config.max_source_positions}; a Whisper encoder needs at least "
            f"{WHISPER_POSITIONS_PER_SECOND}, which is one second."
        )
    return min(available, math.ceil(max_seconds))


def whisper_extractor(extractor: WhisperFeatureExtractor, seconds: int) -> WhisperFeatureExtractor:
    """A copy of the extractor that pads to `seconds` instead of its 30 s."""
    from transformers import WhisperFeatureExtractor

    settings = {key: value for key, value in extractor.to_dict().items() if key not in ("n_samples", "nb_max_frames")}
    return WhisperFeatureExtractor(**settings | {"chunk_length": seconds})


def read_extractor(folder: Path, config: PreTrainedConfig) -> SequenceFeatureExtractor:
    """The checkpoint's feature extractor; where it ships none, the usual one of its kind, with a message.

    Raises UserError for an extractor of another kind, or another sampling rate than 16 kHz.
    """
    from transformers import AutoFeatureExtractor

    wanted = default_extractor(config)
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        settings = f"do_normalize={wanted.do_normalize}" if hasattr(config, "conv_kernel") else "the usual mel filters"
        log.warning("%s has no preprocessor_config.json: assuming 16 kHz, %s.", folder, settings)
        return wanted
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder}/preprocessor_config.json can't be used: {error}") from None
    if type(extractor) is not type(wanted):
        raise UserError(
            f"{folder}/preprocessor_config.json describes {type(extractor).__name__}; "
            f"a {config.model_type} encoder needs {type(wanted).__name__}."
        )
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{folder} wants audio at {extractor.sampling_rate} Hz; this project works at {SAMPLE_RATE} Hz. Choose another checkpoint."
        )
    return extractor


def default_extractor(config: PreTrainedConfig) -> SequenceFeatureExtractor:
    """The feature extractor a checkpoint of this kind usually ships with."""
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    if config.model_type == "wav2vec2-bert":
        return SeamlessM4TFeatureExtractor(num_mel_bins=config.feature_projection_input_dim // 2)
    if config.model_type == "whisper":
        return WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    # Base models with group norm differ in do_normalize; the large ones with layer norm all have it.
    return Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=takes_mask(config))


def _receptive_field(config: PreTrainedConfig) -> int:
    """Samples the convolutions need for one frame."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
