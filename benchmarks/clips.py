"""Clips of CREMA-D's lengths (1.3 to 5.0 s, mean 2.5), of noise or made-up voices, and networks of known sizes with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE = 16_000
LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
PRE_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TINY = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 192, "conv_dim": [32] * 7}
SIZES = {"tiny": TINY, "base": {}, "large": LARGE | PRE_NORM}
"""Of wav2vec 2.0; whisper (base) is the other network there is."""
# Dense bf16 peak in TFLOP/s, from the makers' data sheets.
PEAK = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "3090": 71}


def lengths(count: int) -> np.ndarray:
    """Seconds of so many clips."""
    return np.clip(np.random.default_rng(0).gamma(11, 2.5 / 11, count), 1.3, 5.0)


def voice(seconds: float, seed: int) -> np.ndarray:
    """Syllables of a made-up speaker: pulses whose pitch moves, with breath, through three formants; a pause before, between and after.

    Returns float32 (T,).
    """
    from scipy.signal import lfilter

    draw, count = np.random.default_rng(seed), round(seconds * RATE)
    time = np.arange(count) / RATE
    pitch = draw.uniform(90, 250) * 2 ** (0.2 * np.sin(2 * np.pi * 0.7 * time + draw.uniform(0, 6)) + 0.02 * np.sin(2 * np.pi * 5 * time))
    wave = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0) + 0.02 * draw.standard_normal(count)
    for formant, width in ((draw.uniform(400, 800), 80), (draw.uniform(1000, 2000), 120), (2600, 200)):
        radius = np.exp(-np.pi * width / RATE)
        wave = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], wave)
    loudness = np.clip(np.sin(2 * np.pi * 2 * time - 1), 0, None) ** 0.5 + 1e-3
    return (0.3 * wave * loudness / np.abs(wave).max()).astype(np.float32)


def make_folder(folder: Path, count: int, folds: int = 1) -> Path:
    """A competition folder of so many training clips for each of the folds, without a test part. Returns it."""
    import pandas as pd
    import soundfile

    draw = np.random.default_rng(1)
    (folder / "train").mkdir(parents=True)
    rows = []
    for number, seconds in enumerate(np.tile(lengths(count), folds)):
        soundfile.write(folder / "train" / f"{number}.wav", 0.1 * draw.standard_normal(round(RATE * seconds)), RATE)
        rows.append({"id": f"c{number}", "path": f"./train/{number}.wav", "label": number % len(LABELS)})
    pd.DataFrame(rows).to_csv(folder / "train.csv", index=False)
    return folder


def make_checkpoint(folder: Path, size: str) -> Path:
    """A network of this size as the hub would have it, without layer drop and SpecAugment, which would make two ways do different work."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    if size == "whisper":
        layers = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
        config = CONFIG_MAPPING["whisper"](**layers, num_labels=len(LABELS), dropout=0.1)
        WhisperFeatureExtractor().save_pretrained(folder)
    else:
        config = CONFIG_MAPPING["wav2vec2"](**SIZES[size], num_labels=len(LABELS), layerdrop=0.0, apply_spec_augment=False)
        Wav2Vec2FeatureExtractor(return_attention_mask=size == "large").save_pretrained(folder)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: number for number, name in enumerate(LABELS)}
    torch.manual_seed(0)  # the same network in every run: how many answers padding changes depends on it
    AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    return folder


def on_gpu() -> bool:
    """Whether there is a GPU, which parts take larger work for."""
    import torch

    return torch.cuda.is_available()


def wait() -> None:
    """Until the GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
