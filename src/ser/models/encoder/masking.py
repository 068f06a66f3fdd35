"""What padding does to an encoder, by its kind: whether it takes a mask, and whether that makes it deaf to padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

AST = "audio-spectrogram-transformer"

# Encoders where a masked, padded clip gives the same as the clip alone (but for a group norm over time that some have): one positional
# convolution over zeroed padding.
# data2vec-audio stacks five of them with norms between, which let padding leak into the last frames of a clip.
_MASK_IS_EXACT = {"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "wav2vec2-bert"}


def takes_mask(config: PreTrainedConfig) -> bool:
    """Whether the encoder was pretrained with an attention mask.

    Group norm in the feature encoder normalises over the whole time axis, padding included: those checkpoints saw padding
    as silence and no mask. See the notes of Wav2Vec2FeatureExtractor in transformers.
    """
    return getattr(config, "feat_extract_norm", "layer") == "layer" and config.model_type not in ("whisper", AST)


def is_exact_length(config: PreTrainedConfig) -> bool:
    """Whether padding changes the logits whatever is done about it, so that predictions need clips of equal length."""
    if config.model_type in ("whisper", AST):
        return False
    # Some HuBERT checkpoints normalise before their positional convolution, which makes something of zeroed padding.
    return config.model_type not in _MASK_IS_EXACT or getattr(config, "conv_pos_batch_norm", False)


def norms_over_time(config: PreTrainedConfig) -> bool:
    """Whether a group norm over time is all that makes an encoder hear padding: `ser.models.encoder.group_norm` knows a remedy."""
    return config.model_type in _MASK_IS_EXACT and not takes_mask(config) and not is_exact_length(config)
