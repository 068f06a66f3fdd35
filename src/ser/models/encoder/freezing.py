"""Which part of an encoder keeps its pretrained weights."""

from __future__ import annotations

from torch import nn

from ser.config import ModelConfig
from ser.runtime.errors import UserError


def freeze(encoder: nn.Module, config: ModelConfig) -> list[nn.Module]:
    """Take the frozen part of a transformers encoder out of training; returns its modules.

    Nothing before the first trained weight asks for a gradient, so autograd records nothing there: it costs no more
    than prediction. `train_last_layers=n` freezes all that comes before the last n transformer layers and trains what
    comes after them (the final norm of a pre-norm encoder).
    """
    if config.freeze == "encoder":
        frozen = [encoder]
    elif config.train_last_layers is not None:
        frozen = _before_last_layers(encoder, config.train_last_layers)
    elif config.freeze == "feature_encoder":
        frozen = feature_encoder(encoder)
    else:
        frozen = []
    for module in frozen:
        module.requires_grad_(False)
    if config.train_last_layers is not None and hasattr(encoder, "masked_spec_embed"):
        encoder.masked_spec_embed.requires_grad_(False)  # it enters before the frozen layers
    return frozen


def feature_encoder(encoder: nn.Module) -> list[nn.Module]:
    """The convolutions that turn wave or spectrogram into frames or patches; w2v-BERT has none."""
    if hasattr(encoder, "feature_extractor"):
        return [encoder.feature_extractor]
    if hasattr(encoder, "embeddings"):
        return [encoder.embeddings.patch_embeddings]
    return [encoder.conv1, encoder.conv2] if hasattr(encoder, "conv1") else []


def transformer(encoder: nn.Module) -> nn.Module:
    """The part that holds `layers`: Whisper's encoder itself, a submodule elsewhere."""
    return encoder if hasattr(encoder, "layers") else encoder.encoder


def final_norm(encoder: nn.Module) -> nn.Module | None:
    """The norm after the layers of a pre-norm encoder; post-norm ones have theirs before them."""
    if hasattr(encoder, "layernorm"):
        return encoder.layernorm
    after = encoder.config.model_type in ("whisper", "wav2vec2-conformer") or getattr(encoder.config, "do_stable_layer_norm", False)
    return transformer(encoder).layer_norm if after else None


def _before_last_layers(encoder: nn.Module, trained: int) -> list[nn.Module]:
    stack = transformer(encoder)
    if trained > len(stack.layers):
        raise UserError(f"model.train_last_layers: given {trained}; this encoder has {len(stack.layers)} layers.")
    after = {stack.layers, final_norm(encoder)}
    if hasattr(stack, "upsample"):  # SEW squeezes the frames before its layers
        after.add(stack.upsample)
    before = [module for module in stack.children() if module not in after]
    if stack is not encoder:
        before += [module for module in encoder.children() if module is not stack]
    return before + list(stack.layers[: len(stack.layers) - trained])
