"""A batch through an encoder: the hidden states, and which of their frames are real.

The last layers run alone as well, on what was kept of the layers below them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ser.models.encoder.group_norm import over_own_frames
from ser.models.encoder.in_a_row import states_in_a_row, takes_clips_in_a_row
from ser.models.encoder.own_length import attention_mask_of, whisper_states

# Their layers want nothing but a state and an attention mask. WavLM's hand a position bias on from the first layer, SEW's frames are
# squeezed around the layers, conformers' convolutions hear the padding, AST's patches have no order of frames.
_PLAIN_LAYERS = {"whisper", "wav2vec2", "hubert", "unispeech", "unispeech-sat", "data2vec-audio"}


def hidden_states(
    encoder: PreTrainedModel, batch: dict[str, torch.Tensor], every_layer: bool
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """All hidden states, or the last alone, each (B, T, D); and a boolean mask (B, T) of the real frames, None where all are.

    batch: what the frontend's `collate` returns.
    """
    if isinstance(encoder, WhisperEncoder):
        states, mask = whisper_states(encoder, batch["input_features"], batch["attention_mask"])
        return (states if every_layer else states[-1:]), mask
    if isinstance(encoder, ASTModel):
        outputs = encoder(batch["input_values"], output_hidden_states=every_layer)
        return (outputs.hidden_states if every_layer else (outputs.last_hidden_state,)), _own_patches(encoder, batch["own_frames"])
    batch = _without_padding(encoder, batch)
    own_samples = batch.pop("own_samples", None)
    if "input_values" in batch and takes_clips_in_a_row(encoder):
        told = own_samples if own_samples is not None else batch["attention_mask"].sum(1) if "attention_mask" in batch else None
        if told is not None and (found := states_in_a_row(encoder, batch["input_values"], told, every_layer)):
            return found
    if own_samples is None or encoder.training:  # in training such a network hears padding as silence, as it was pretrained
        outputs = encoder(**batch, output_hidden_states=every_layer)
    else:
        wave = batch["input_values"]
        batch["attention_mask"] = (torch.arange(wave.shape[1], device=wave.device) < own_samples[:, None]).long()
        with over_own_frames(encoder, own_samples):
            outputs = encoder(**batch, output_hidden_states=every_layer)
    states = outputs.hidden_states if every_layer else (outputs.last_hidden_state,)
    mask = batch.get("attention_mask")
    if mask is not None:
        mask = encoder._get_feature_vector_attention_mask(states[-1].shape[1], mask).bool()
    return states, mask


def _without_padding(encoder: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch, in prediction of a single clip without what tells padding, since it has none: a mask costs a tenth in bf16 on a CPU."""
    if encoder.training or next(iter(batch.values())).shape[0] > 1:
        return dict(batch)
    return {name: values for name, values in batch.items() if name not in ("attention_mask", "own_samples")}


def _own_patches(encoder: ASTModel, own_frames: torch.Tensor) -> torch.Tensor:
    """(B, two class tokens and the patches, a row of mel bins after the other), true where the clip's own frames (B,) begin a patch."""
    rows, columns = encoder.embeddings.get_shape(encoder.config)
    own = torch.arange(columns, device=own_frames.device) * encoder.config.time_stride < own_frames[:, None]
    return torch.cat([torch.ones_like(own[:, :1]).expand(-1, 2), own.repeat(1, rows)], dim=1)


def has_plain_layers(encoder: PreTrainedModel) -> bool:
    """Whether `last_state` is possible."""
    return encoder.config.model_type in _PLAIN_LAYERS and getattr(encoder, "adapter", None) is None


def last_state(
    config: PreTrainedConfig, layers: Iterable[nn.Module], norm: nn.Module | None, state: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """(B, T, D): the last hidden state of an encoder with plain layers, from what goes into the first of its last layers.

    layers: the last ones; norm: what comes after them (`final_norm`). state: (B, T, D), of `hidden_states` of all layers; mask: boolean
    (B, T), true for real frames.
    """
    if config.model_type == "whisper":
        attention = attention_mask_of(config, state, mask)
    else:
        attention = create_bidirectional_mask(config=config, inputs_embeds=state, attention_mask=mask)
    for layer in layers:
        state = layer(state, attention_mask=attention)
        state = state[0] if isinstance(state, tuple) else state
    return state if norm is None else norm(state)
