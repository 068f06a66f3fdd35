"""The folder that transformers opens: its own classification network of an encoder and a head, and how it hears a clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from ser.models.encoder import own_length
from ser.models.encoder.heads import PooledHead


def hub_network(encoder: PreTrainedModel, head: PooledHead) -> PreTrainedModel:
    """The hub's classification network of this encoder (the same tensors) and this head (translated)."""
    config = encoder.config
    labels, size = head.classifier.out_features, config.hidden_size
    if head.class_tokens_eps is None:
        config.classifier_proj_size = max(config.classifier_proj_size, labels)
    with torch.device("meta"):  # everything in it is replaced
        network = transformers.AutoModelForAudioClassification.from_config(config)
    setattr(network, "encoder" if config.model_type == "whisper" else network.base_model_prefix, encoder)
    if head.class_tokens_eps is None:
        network.projector = nn.Linear(size, config.classifier_proj_size)
        network.classifier = nn.Linear(config.classifier_proj_size, labels)
    else:
        network.classifier = type(network.classifier)(config)
    if head.layer_weights is not None:
        network.layer_weights = nn.Parameter(torch.empty_like(head.layer_weights))
    head.to_hub(network.to(encoder.device))
    return network


def save_own_length(folder: Path, max_seconds: float) -> None:
    """Let `trust_remote_code=True` run a saved Whisper classifier on a clip's own length, up to so many seconds, as it was trained.

    Without it the folder opens as any other, and silence is appended.
    """
    shutil.copyfile(own_length.__file__, folder / "own_length.py")
    for file, found_by, code in (
        ("config.json", "AutoModelForAudioClassification", own_length.WhisperForAudioClassification),
        ("preprocessor_config.json", "AutoFeatureExtractor", own_length.OwnLengthFeatureExtractor),
    ):
        settings = json.loads((folder / file).read_text(encoding="utf-8"))
        if found_by == "AutoFeatureExtractor":
            settings["max_samples"] = round(max_seconds * settings["sampling_rate"])
        settings["auto_map"] = {found_by: f"own_length.{code.__name__}"}
        (folder / file).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
