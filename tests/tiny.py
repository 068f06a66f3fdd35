"""The smallest experiment that runs the real commands: a few seconds for everything."""

from __future__ import annotations

from pathlib import Path

import yaml

from ser.demo.folder import make_demo

TINY_WAV2VEC2 = {
    "model_type": "wav2vec2",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8],
    "conv_kernel": [64, 8],
    "conv_stride": [32, 8],
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}


def make_tiny_data(folder: Path, clips: int = 48, test_clips: int = 12) -> Path:
    """A small demo data set; returns its folder."""
    make_demo(folder, clips, test_clips, 0)
    return folder


def write_tiny_config(path: Path, data: Path, **sections: dict) -> Path:
    """A config of a tiny Wav2Vec2 from scratch, two folds, two epochs; sections override it."""
    content = {
        "data": {"root": str(data), "cache": str(path.parent / "cache")},
        "cv": {"n": 2},
        "model": {"from_scratch": TINY_WAV2VEC2, "freeze": "none"},
        "train": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "head_learning_rate": 1e-3},
        "tracking": {"mode": "disabled"},
        "run": {"output": str(path.parent / "outputs" / path.stem)},
    }
    for name, section in sections.items():
        content[name] = content.get(name, {}) | section
    path.write_text(yaml.safe_dump(content))
    return path
