"""An encoder with its weights: read from a checkpoint's folder, all of them or a refusal, or random."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ser.models.pretrained import load_network, short, some
from ser.runtime.cpu_memory import memory_here
from ser.runtime.errors import UserError

log = logging.getLogger(__name__)

HEAD_PARTS = ("projector", "classifier", "layer_weights")


def read_network(folder: Path, config: PreTrainedConfig, new_head: bool = False, head: bool = True) -> PreTrainedModel:
    """The network in float32 from safetensors, refused unless all of its weights are there (but for a new head's)."""
    if head:
        network_class = transformers.AutoModelForAudioClassification
    else:
        network_class = WhisperEncoder if config.model_type == "whisper" else transformers.AutoModel
    network, report = load_network(network_class, folder, config)
    _check_report(folder, network, report, new_head)
    return network


def _check_report(folder: Path, network: PreTrainedModel, report: dict, new_head: bool) -> None:
    """Refuse weights that would silently be random; warn of weights of the encoder that found no place."""

    def expected(key: str) -> bool:
        # The vector SpecAugment puts over masked frames: some checkpoints ship none, and prediction never uses it.
        return key.endswith("masked_spec_embed") or (new_head and key.split(".")[0] in HEAD_PARTS)

    missing = sorted(key for key in report["missing_keys"] if not expected(key))
    for key, given, wanted in report["mismatched_keys"]:
        if not expected(key):
            missing.append(f"{key} (shape {tuple(given)}, wanted {tuple(wanted)})")
    if missing:
        only_head = all(key.split(".")[0] in HEAD_PARTS for key in missing)
        hint = (
            "It is an encoder to fine-tune, or its head is not the one transformers knows: train on it with --model.name."
            if only_head
            else "The checkpoint is incomplete or of another architecture than its config.json says."
        )
        raise UserError(f"{folder} lacks weights, which would stay random: {some(missing)}. {hint}")
    parts = ("encoder",) if network.config.model_type == "whisper" else dict(encoder_of(network).named_children())
    inside = tuple(f"{part}." for part in parts)
    prefix = f"{network.base_model_prefix}."
    if unused := sorted(key for key in report["unexpected_keys"] if key.removeprefix(prefix).startswith(inside)):
        log.warning("%s holds encoder weights that this architecture has no place for: %s.", folder, some(unused))


def random_network(config: PreTrainedConfig) -> PreTrainedModel:
    """A network of random weights. Raises UserError for impossible sizes."""
    new = partial(transformers.AutoModelForAudioClassification.from_config, config, dtype=torch.float32)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):  # counting them draws nothing
            numbers = sum(parameter.numel() for parameter in new().parameters())
        if 4 * numbers > memory_here():
            raise UserError(f"model.from_scratch: these sizes make {numbers:.2g} parameters, more than the memory here holds.")
        return new()
    except UserError:
        raise
    except Exception as error:  # torch and transformers refuse impossible sizes with exceptions of many classes
        raise UserError(f"model.from_scratch: these sizes make no network: {short(error)}") from None


def encoder_of(network: PreTrainedModel) -> PreTrainedModel:
    """The encoder within a classification network."""
    if network.config.model_type == "whisper":
        return network if isinstance(network, WhisperEncoder) else network.encoder
    return network.base_model
