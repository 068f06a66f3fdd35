"""Whisper on a clip's own length, without the silence up to 30 s that transformers appends: the same answers at a sixth of the cost.

This file is saved beside such a model, where `pipeline("audio-classification", model=FOLDER, trust_remote_code=True)` finds the two
classes below. So it imports nothing but torch, numpy and transformers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F
from transformers import BatchFeature, PreTrainedConfig, WhisperFeatureExtractor
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.whisper import modeling_whisper

SAMPLES_PER_POSITION = 320  # 20 ms at 16 kHz: a mel frame every 10 ms, halved by the second convolution


def log_mel(extractor: WhisperFeatureExtractor, wave: np.ndarray) -> np.ndarray:
    """Samples (T,) -> (mel bins, frames) float32: an even number of frames, of the first `chunk_length` seconds and of no silence."""
    wave = np.asarray(wave, dtype=np.float32)[: extractor.n_samples]
    wave = np.pad(wave, (0, max(SAMPLES_PER_POSITION, len(wave) + -len(wave) % SAMPLES_PER_POSITION) - len(wave)))
    made = WhisperFeatureExtractor.__call__(
        extractor, wave, sampling_rate=extractor.sampling_rate, return_tensors="np", padding="do_not_pad", return_attention_mask=False
    )
    return made["input_features"][0]


def whisper_states(
    encoder: modeling_whisper.WhisperEncoder, features: torch.Tensor, real: torch.Tensor
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """All hidden states, each (B, T, D), and a boolean mask (B, T) of the frames that are real.

    features: (B, mel bins, frames), zero in the padding. real: (B, frames), an even number of ones and then zeros.
    Whisper's own forward insists on 30 s and knows no mask. Its layers do.
    """
    # Zeroed before the second convolution, padding looks to a clip's last frames like the end of the tensor.
    state = F.gelu(encoder.conv1(features)) * real[:, None]
    state = F.gelu(encoder.conv2(state)).transpose(1, 2)
    places = torch.arange(state.shape[1], device=state.device)
    mask = places < (real.sum(1, keepdim=True) // 2)
    state = F.dropout(state + encoder.embed_positions.weight[: state.shape[1]], encoder.dropout, encoder.training)
    states = [state]
    attention = attention_mask_of(encoder.config, state, mask)
    for layer in encoder.layers:
        state = layer(state, attention)
        state = state[0] if isinstance(state, tuple) else state
        states.append(state)
    states[-1] = encoder.layer_norm(states[-1])
    return tuple(states), mask


def attention_mask_of(config: PreTrainedConfig, state: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What layers with this attention want of a boolean mask (B, T) for a state (B, T, D)."""
    if config._attn_implementation == "sdpa":
        return mask[:, None, None]
    return create_bidirectional_mask(config=config, inputs_embeds=state, attention_mask=mask, allow_is_bidirectional_skip=False)


class OwnLengthFeatureExtractor(WhisperFeatureExtractor):
    """Whisper's features of each clip by itself, filled up with zeros, and a mask of what is real: the only form that batches alike.

    `max_samples`, in preprocessor_config.json, is what the model hears of a clip.
    """

    def __call__(self, raw_speech, sampling_rate: int | None = None, return_tensors: str | None = None, **_) -> BatchFeature:
        """One wave (T,) or several -> `input_features` (B, mel bins, frames of `chunk_length` seconds), `attention_mask` (B, frames)."""
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"sampling_rate: given {sampling_rate}; the model hears {self.sampling_rate} Hz.")
        clips = raw_speech if len(raw_speech) and np.ndim(raw_speech[0]) else [raw_speech]
        features = np.zeros((len(clips), self.feature_size, self.nb_max_frames), np.float32)
        mask = np.zeros((len(clips), self.nb_max_frames), np.int64)
        for row, (clip, clip_mask) in enumerate(zip(clips, mask, strict=True)):
            mel = log_mel(self, clip[: getattr(self, "max_samples", self.n_samples)])
            features[row, :, : mel.shape[1]] = mel
            clip_mask[: mel.shape[1]] = 1
        return BatchFeature({"input_features": features, "attention_mask": mask}, tensor_type=return_tensors)


# The name that the pipeline knows.
class WhisperForAudioClassification(modeling_whisper.WhisperForAudioClassification):
    """The hub's classifier, its mean taken over the clip's own frames."""

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        **_,
    ) -> SequenceClassifierOutput:
        """What the extractor above makes, its padding cut to the longest clip -> logits (B, labels). Without a mask every frame counts."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_features[:, 0], dtype=torch.long)
        longest = int(attention_mask.sum(1).max())
        states, mask = whisper_states(self.encoder, input_features[..., :longest], attention_mask[:, :longest])
        state = states[-1]
        if self.config.use_weighted_layer_sum:
            state = (torch.stack(states, -1) * self.layer_weights.softmax(-1)).sum(-1)
        frames = self.projector(state) * mask[..., None]
        logits = self.classifier(frames.sum(1) / mask.sum(1, keepdim=True))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=states if output_hidden_states else None)
