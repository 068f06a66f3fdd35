"""Layer drop and SpecAugment: what is skipped or hidden in training only.

SpecAugment draws from NumPy's global generator (as transformers does), layer drop from torch's: a training loop that
wants to be repeatable seeds both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, WhisperModel

from ser.config import ModelConfig
from ser.models.encoder.freezing import transformer
from ser.models.encoder.masking import AST

_MASK_LENGTH = 10  # as in the other encoders' configs


def set_spec_augment(config: PreTrainedConfig, settings: ModelConfig) -> None:
    """Put SpecAugment (Park et al. 2019, arXiv 1904.08779) into a transformers config, and its layer drop out of it."""
    config.apply_spec_augment = True
    config.mask_time_prob = float(settings.mask_time_prob)
    config.mask_feature_prob = float(settings.mask_feature_prob)
    # transformers masks at least two spans of 0.2 s whatever the probability: 16 % of a 2.5 s clip.
    config.mask_time_min_masks = 0
    config.mask_feature_min_masks = 0  # WavLM's config lacks it, and its network asks for it
    for name in ("mask_time_length", "mask_feature_length"):
        setattr(config, name, getattr(config, name, _MASK_LENGTH))  # AST's config lacks them
    for name in ("layerdrop", "encoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)


def add_layer_drop(encoder: nn.Module, probability: float) -> None:
    """Skip each trained transformer layer with this probability in training (Fan et al. 2019, arXiv 1909.11556).

    transformers' own switch also skips frozen layers, leaves holes in the hidden states (so layer weights fail), and
    leaves parameters without gradient (so several GPUs fail). Here a skipped layer passes on its input, with zero gradient.
    """

    def skip(layer: nn.Module, inputs: tuple, output):
        if not layer.training:
            return output
        state = output[0] if isinstance(output, tuple) else output
        keep = torch.rand([]) >= probability
        state = torch.where(keep.to(state.device), state, inputs[0].to(state.dtype))
        return (state, *output[1:]) if isinstance(output, tuple) else state

    if probability > 0:
        for layer in transformer(encoder).layers:
            layer.register_forward_hook(skip)


@contextmanager
def spec_augment(encoder: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Within it, the batch can go through the encoder in training with SpecAugment.

    The wave encoders of transformers mask their own frames, but raise when the longest clip of a batch is shorter than
    one mask (0.2 s): such a batch goes unmasked. Whisper's and AST's classifiers mask nothing: their spectrogram is masked
    here, the way WhisperModel does it.
    """
    config = encoder.config
    if not encoder.training:
        yield batch
    elif config.model_type == "whisper":
        yield batch | {"input_features": _masked(encoder, batch["input_features"], batch["attention_mask"])}
    elif config.model_type == AST:
        spectra = batch["input_values"].mT
        real = torch.arange(spectra.shape[-1], device=spectra.device) < batch["own_frames"][:, None]
        yield batch | {"input_values": _masked(encoder, spectra, real).mT}
    else:
        filters = batch.get("input_features")
        frames = filters.shape[1] if filters is not None else int(encoder._get_feat_extract_output_lengths(batch["input_values"].shape[-1]))
        wanted = getattr(config, "apply_spec_augment", True)
        config.apply_spec_augment = wanted and frames >= config.mask_time_length
        try:
            yield batch
        finally:
            config.apply_spec_augment = wanted


def _masked(encoder: PreTrainedModel, spectra: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Spectrograms (B, mel bins, frames) with spans hidden among the real frames (B, frames)."""
    if spectra.shape[-1] < encoder.config.mask_time_length:
        return spectra
    return WhisperModel._mask_input_features(encoder, spectra.clone(), real.long())
