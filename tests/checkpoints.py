"""Tiny random checkpoints of every architecture and norm kind, in the form the hub ships them: for tests only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    AutoModelForAudioClassification,
    RobertaConfig,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from ser.models.text_tokens import learn_tokenizer

# 32 channels, 3 layers, one frame per 320 samples as in the real ones.
_WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 8, 4],
    "conv_stride": [5, 8, 8],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 24,
    "mask_time_prob": 0.05,
}
_PRE_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_DATA2VEC = _WAVE | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7}

CHECKPOINTS: dict[str, dict] = {
    "wav2vec2-group": {"model_type": "wav2vec2", **_WAVE},  # as facebook/wav2vec2-base
    "wav2vec2-layer": {"model_type": "wav2vec2", **_WAVE, **_PRE_NORM},  # as wav2vec2-large-robust, XLSR
    "hubert-group": {"model_type": "hubert", **_WAVE},
    "hubert-layer": {"model_type": "hubert", **_WAVE, **_PRE_NORM},  # as hubert-large
    "wavlm-group": {"model_type": "wavlm", **_WAVE},
    "wavlm-layer": {"model_type": "wavlm", **_WAVE, **_PRE_NORM},  # as wavlm-large
    "data2vec-audio": {"model_type": "data2vec-audio", **_DATA2VEC},
    "unispeech-layer": {"model_type": "unispeech", **_WAVE, **_PRE_NORM},
    "unispeech-sat-layer": {"model_type": "unispeech-sat", **_WAVE, **_PRE_NORM},
    "whisper": {
        "model_type": "whisper",
        "d_model": 32,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_layers": 1,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 48,
        "num_mel_bins": 16,
        "vocab_size": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
        "classifier_proj_size": 24,
    },
}
NAMED = ("wav2vec2-group", "wav2vec2-layer", "hubert-group", "hubert-layer", "wavlm-group", "wavlm-layer", "data2vec-audio", "whisper")
"""The families the project promises, each with both norm kinds where they exist."""


LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")


def make_checkpoint(folder: str | Path, kind: str, seed: int = 0, dtype: torch.dtype = torch.float32, **overrides) -> Path:
    """Write a pretrained-looking encoder without a classification head; returns its folder."""
    settings = dict(CHECKPOINTS[kind]) | overrides
    model_type = settings.pop("model_type")
    config = CONFIG_MAPPING[model_type](**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config).to(dtype)
    model.save_pretrained(folder)
    if model_type == "whisper":
        extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    else:
        extractor = Wav2Vec2FeatureExtractor(return_attention_mask=getattr(config, "feat_extract_norm", "layer") == "layer")
    extractor.save_pretrained(folder)
    return Path(folder)


def make_classifier(folder: str | Path, kind: str, names: tuple[str, ...], seed: int = 0) -> Path:
    """Write an audio classifier as somebody else's training would: no card of ours, label names in id2label; returns its folder."""
    settings = dict(CHECKPOINTS[kind])
    config = CONFIG_MAPPING[settings.pop("model_type")](**settings, id2label=dict(enumerate(names)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForAudioClassification.from_config(config)
        torch.nn.init.normal_(model.classifier.weight, std=20.0)  # answers that differ from clip to clip
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=config.feat_extract_norm == "layer").save_pretrained(folder)
    return Path(folder)


def waves(*seconds: float, seed: int = 0) -> list[np.ndarray]:
    """Clips of noise with an offset, which normalisation has to take away."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0.01, 0.1, round(16_000 * length)).astype(np.float32) for length in seconds]


def logits(model, clips: list[np.ndarray]) -> torch.Tensor:
    """The model's logits for one batch of clips."""
    with torch.no_grad():
        return model(**model.frontend.collate([model.frontend.prepare(clip) for clip in clips]))


def make_text_checkpoint(folder: Path, texts: Iterable[str]) -> Path:
    """A tiny random RoBERTa as the hub ships one: an encoder without a classifier, and a tokenizer that knows the texts."""
    tokenizer = learn_tokenizer(texts, 200, pad_id=1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    AutoModel.from_config(RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
