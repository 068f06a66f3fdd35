"""A batch through an encoder: the hidden states, and which of their frames are real.

Whisper's own forward insists on 30 s, most of which are silence, and knows no mask. Its layers do: here a clip goes through them on
its own length, and a batch of several under a mask, with the same answers.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def hidden_states(
    encoder: PreTrainedModel, batch: dict[str, torch.Tensor], every_layer: bool
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """All hidden states, or the last alone, each (B, T, D); and a boolean mask (B, T) of the real frames, None where all are.

    batch: what the frontend's `collate` returns.
    """
    if isinstance(encoder, WhisperEncoder):
        states, mask = _whisper_states(encoder, batch["input_features"], batch["attention_mask"])
        return (states if every_layer else states[-1:]), mask
    if isinstance(encoder, ASTModel):
        outputs = encoder(batch["input_values"], output_hidden_states=every_layer)
        return (outputs.hidden_states if every_layer else (outputs.last_hidden_state,)), _own_patches(encoder, batch["own_frames"])
    outputs = encoder(**batch, output_hidden_states=every_layer)
    states = outputs.hidden_states if every_layer else (outputs.last_hidden_state,)
    mask = batch.get("attention_mask")
    if mask is not None:
        mask = encoder._get_feature_vector_attention_mask(states[-1].shape[1], mask).bool()
    return states, mask


def _whisper_states(encoder: WhisperEncoder, features: torch.Tensor, real: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """features: (B, mel bins, frames), zero in the padding. real: (B, frames), an even number of ones and then zeros."""
    # Zeroed before the second convolution, padding looks to a clip's last frames like the end of the tensor.
    state = F.gelu(encoder.conv1(features)) * real[:, None]
    state = F.gelu(encoder.conv2(state)).transpose(1, 2)
    places = torch.arange(state.shape[1], device=state.device)
    mask = places < (real.sum(1, keepdim=True) // 2)
    state = F.dropout(state + encoder.embed_positions.weight[: state.shape[1]], encoder.dropout, encoder.training)
    states = [state]
    for layer in encoder.layers:
        state = layer(state, mask[:, None, None])
        state = state[0] if isinstance(state, tuple) else state
        states.append(state)
    states[-1] = encoder.layer_norm(states[-1])
    return tuple(states), mask


def _own_patches(encoder: ASTModel, own_frames: torch.Tensor) -> torch.Tensor:
    """(B, two class tokens and the patches, a row of mel bins after the other), true where the clip's own frames (B,) begin a patch."""
    rows, columns = encoder.embeddings.get_shape(encoder.config)
    own = torch.arange(columns, device=own_frames.device) * encoder.config.time_stride < own_frames[:, None]
    return torch.cat([torch.ones_like(own[:, :1]).expand(-1, 2), own.repeat(1, rows)], dim=1)
