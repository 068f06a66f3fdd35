"""A batch of clips through an encoder without padding, where the layers that mix frames know where each clip ends (a CPU that predicts)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from ser.runtime.clips_in_a_row import in_a_row
from ser.runtime.convolutions import LongConvolution, RoundedFrames
from ser.runtime.self_attention import OwnAttention


def takes_clips_in_a_row(encoder: PreTrainedModel) -> bool:
    """Whether `states_in_a_row` is possible, here and now."""
    parts = [getattr(encoder, "feature_extractor", None), _positions(encoder)]
    layers = getattr(getattr(encoder, "encoder", None), "layers", [])
    if encoder.training or torch.is_grad_enabled() or getattr(encoder, "adapter", None) is not None or not layers:
        return False
    kinds = [RoundedFrames, LongConvolution, *[OwnAttention] * len(layers)]
    stand_ins = [None if part is None else vars(part).get("forward") for part in (*parts, *(getattr(x, "attention", None) for x in layers))]
    return all(isinstance(own, kind) and own.fits() for own, kind in zip(stand_ins, kinds, strict=True))


def states_in_a_row(
    encoder: PreTrainedModel, wave: torch.Tensor, own_samples: torch.Tensor, every_layer: bool
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor] | None:
    """All hidden states, or the last alone, each (B, T, D) with zeros behind a clip; a boolean mask (B, T) of the clips' own frames.

    wave: (B, samples), what lies behind a clip's `own_samples` (B,) isn't heard. None where one of them is too short for a frame, or
    the encoder doesn't take clips in a row any more.
    """
    frames = encoder._get_feat_extract_output_lengths(own_samples)
    if frames.min() < 1:
        return None
    with in_a_row(own_samples.tolist(), frames.tolist()):
        outputs = encoder(wave, output_hidden_states=every_layer)
    if not takes_clips_in_a_row(encoder):  # another thread has changed a weight meanwhile, or taken away what was made ready
        return None
    states = outputs.hidden_states if every_layer else (outputs.last_hidden_state,)
    padded = tuple(pad_sequence(state[0].split(frames.tolist()), batch_first=True) for state in states)
    return padded, torch.arange(padded[0].shape[1]) < frames[:, None]


def _positions(encoder: PreTrainedModel) -> nn.Module | None:
    return getattr(getattr(getattr(encoder, "encoder", None), "pos_conv_embed", None), "conv", None)
