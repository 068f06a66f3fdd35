"""Any audio encoder of transformers with a classification head.

`pooling=mean` is the library's own `...ForSequenceClassification`: what is saved is what `save_pretrained` writes, and
opens in `pipeline("audio-classification", model=folder)`. `pooling=attentive` puts a head of ours on the same encoder.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ser.audio import SAMPLE_RATE
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.base import SerModel, read_card
from ser.models.encoder.freezing import freeze, has_final_norm, transformer
from ser.models.encoder.frontends import (
    LogMel,
    default_extractor,
    is_exact_length,
    read_extractor,
    takes_mask,
    waveform_frontend,
    whisper_extractor,
    whisper_seconds,
)
from ser.models.encoder.pooling import AttentiveHead
from ser.models.encoder.regularization import add_layer_drop, set_spec_augment, spec_augment
from ser.models.hub import checkpoint_folder
from ser.models.pretrained import canonical_names, labels_of, load_network, quiet, read_config, set_labels, short, some
from ser.models.untrained import scratch_config
from ser.runtime.errors import UserError

log = logging.getLogger(__name__)

# WavLM's attention mixes a boolean mask with a float bias; torch says so at every process start.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")

MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "whisper")
HEAD_FILE = "head.safetensors"
HEAD_PARTS = ("projector", "classifier", "layer_weights")
# Clips for a classifier from elsewhere, which doesn't say how long it may listen.
FOREIGN_MAX_SECONDS = 15.0


class EncoderModel(SerModel):
    """A transformers encoder with the library's own head (`head` is None, `network` has it) or an attentive one."""

    def __init__(
        self,
        network: PreTrainedModel,
        head: AttentiveHead | None,
        extractor: SequenceFeatureExtractor,
        label_names: Sequence[str],
        max_seconds: float,
        frozen: Sequence[nn.Module] = (),
    ):
        config = network.config
        whisper = config.model_type == "whisper"
        super().__init__(
            "encoder",
            label_names,
            max_seconds=min(max_seconds, extractor.chunk_length) if whisper else max_seconds,
            exact_length=is_exact_length(config),
        )
        self.network = network
        self.head = head
        self.extractor = extractor
        self.frontend = LogMel(extractor) if whisper else waveform_frontend(config, extractor, max_seconds)
        self._frozen = list(frozen)

    @property
    def encoder(self) -> PreTrainedModel:
        """The encoder without its head."""
        return self.network if self.head is not None else _encoder_of(self.network)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        with spec_augment(self.encoder, batch) as batch:
            if self.head is None:
                return self.network(**batch).logits.float()
            outputs = self.network(**batch, output_hidden_states=self.head.layer_weights is not None)
        states = outputs.hidden_states or (outputs.last_hidden_state,)
        mask = batch.get("attention_mask")
        if mask is not None:
            mask = self.network._get_feature_vector_attention_mask(states[-1].shape[1], mask).bool()
        return self.head(states, mask).float()

    def is_head(self, name: str) -> bool:
        """Projection, pooling, classifier and layer weights, of either head."""
        return name.startswith("head.") or name.split(".")[1] in HEAD_PARTS

    def frozen(self) -> Sequence[nn.Module]:
        """The modules that `model.freeze` and `model.train_last_layers` keep as they are."""
        return self._frozen

    def _write(self, folder: Path) -> dict:
        with quiet():
            self.network.save_pretrained(folder)
            self.extractor.save_pretrained(folder)
        if self.head is None:
            return {
                "head": "mean",
                "layer_weights": bool(self.network.config.use_weighted_layer_sum),
                "how_to_load": "transformers.pipeline('audio-classification', model=FOLDER), or ser.models.load_model(FOLDER)",
            }
        save_file({name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}, folder / HEAD_FILE)
        return {
            "head": "attentive",
            "layer_weights": self.head.layer_weights is not None,
            "how_to_load": f"ser.models.registry.load_model(FOLDER); the encoder alone by transformers, its head is in {HEAD_FILE}",
        }


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> EncoderModel:
    """A pretrained (or, from scratch, random) encoder with a new head; see `ser.models.registry.build_model`."""
    if config.from_scratch is None:
        folder = checkpoint_folder(config.name)
        hub_config = read_config(folder, MODEL_TYPES, "audio encoders")
        extractor = read_extractor(folder, hub_config)
    else:
        folder = None
        hub_config = scratch_config(config.from_scratch, MODEL_TYPES)
        extractor = default_extractor(hub_config)
        if config.freeze != "none" or config.train_last_layers is not None:
            log.warning("model.from_scratch makes random weights, and model.freeze keeps some of them: freeze=none trains all.")
    set_labels(hub_config, label_names)
    set_spec_augment(hub_config, config)
    hub_config.use_weighted_layer_sum = config.layer_weights and config.pooling == "mean"

    network = _random_network(hub_config) if folder is None else _read_network(folder, hub_config, new_head=True)
    encoder = _encoder_of(network)
    if hub_config.model_type == "whisper":
        hub_config.use_cache = False  # the decoder's business, and at odds with gradient checkpointing
        extractor = whisper_extractor(extractor, whisper_seconds(hub_config, max_seconds))
        _keep_positions(encoder, extractor)
    else:
        extractor.return_attention_mask = takes_mask(hub_config)
    if config.pooling == "attentive":
        layers = len(transformer(encoder).layers) + 1 if config.layer_weights else None
        network, head = encoder, AttentiveHead(hub_config.hidden_size, len(label_names), layers, config.head_dropout)
    else:
        head = None
        _start_head(network)
        _add_dropout(network.classifier, config.head_dropout)

    frozen = freeze(encoder, config)
    if config.layer_weights and has_final_norm(encoder) and hub_config.model_type != "whisper":
        # The layers are summed before the final norm, which therefore takes no part.
        encoder.encoder.layer_norm.requires_grad_(False)
    add_layer_drop(encoder, config.layer_drop)
    if config.gradient_checkpointing:
        network.activation_checkpointing_enable({"use_reentrant": False})
    model = EncoderModel(network, head, extractor, label_names, max_seconds, frozen)
    if folder is None:
        _try_out(model)
    return model


def load(folder: Path, card: dict) -> EncoderModel:
    """Open what `EncoderModel.save` wrote."""
    config = read_config(folder, MODEL_TYPES, "audio encoders")
    extractor = read_extractor(folder, config)
    names = tuple(card["label_names"])
    if card.get("head") == "mean":
        if names != labels_of(config):
            raise UserError(f"{folder}: ser_model.json and config.json name different labels: {names} and {labels_of(config)}.")
        return EncoderModel(_read_network(folder, config), None, extractor, names, card["max_seconds"])
    network = _read_network(folder, config, head=False)
    layers = len(transformer(network).layers) + 1 if card.get("layer_weights") else None
    head = AttentiveHead(config.hidden_size, len(names), layers)
    try:
        head.load_state_dict(load_file(folder / HEAD_FILE), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder / HEAD_FILE} can't be read: {short(error)}") from None
    return EncoderModel(network, head, extractor, names, card["max_seconds"])


def load_foreign(name: str) -> EncoderModel:
    """Open an audio classifier that was not saved by this project, by folder or hub name.

    Its labels become keys of the emotion registry where each is known there, and stay as they are otherwise.
    """
    folder = checkpoint_folder(name)
    if card := read_card(folder):
        return load(folder, card)
    config = read_config(folder, MODEL_TYPES, "audio encoders")
    if config.problem_type == "regression" or config.num_labels < 2:
        raise UserError(f"{name} predicts {config.num_labels} value(s) ({config.problem_type or 'one label'}), not emotion classes.")
    extractor = read_extractor(folder, config)
    seconds = extractor.chunk_length if config.model_type == "whisper" else FOREIGN_MAX_SECONDS
    return EncoderModel(_read_network(folder, config), None, extractor, canonical_names(labels_of(config)), seconds)


def _read_network(folder: Path, config: PreTrainedConfig, new_head: bool = False, head: bool = True) -> PreTrainedModel:
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
    parts = ("encoder",) if network.config.model_type == "whisper" else dict(_encoder_of(network).named_children())
    inside = tuple(f"{part}." for part in parts)
    prefix = f"{network.base_model_prefix}."
    if unused := sorted(key for key in report["unexpected_keys"] if key.removeprefix(prefix).startswith(inside)):
        log.warning("%s holds encoder weights that this architecture has no place for: %s.", folder, some(unused))


def _random_network(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        return transformers.AutoModelForAudioClassification.from_config(config, dtype=torch.float32)
    except Exception as error:  # torch and transformers refuse impossible sizes with exceptions of many classes
        raise UserError(f"model.from_scratch: these sizes make no network: {short(error)}") from None


def _try_out(model: EncoderModel) -> None:
    """Sizes that only fail in use should fail before the run: one second of silence through the network."""
    model.eval()
    try:
        with torch.no_grad():
            model(**model.frontend.collate([model.frontend.prepare(Utterance(np.zeros(SAMPLE_RATE, np.float32)))]))
    except (RuntimeError, ValueError, IndexError) as error:
        raise UserError(f"model.from_scratch: these sizes make no network: {short(error)}") from None


def _encoder_of(network: PreTrainedModel) -> PreTrainedModel:
    if network.config.model_type == "whisper":
        return network if isinstance(network, WhisperEncoder) else network.encoder
    return network.base_model


def _keep_positions(encoder: PreTrainedModel, extractor: SequenceFeatureExtractor) -> None:
    """Cut Whisper's 30 s of sinusoidal positions to the extractor's seconds: the cost falls with the length."""
    positions = extractor.nb_max_frames // 2
    weight = encoder.embed_positions.weight.data[:positions].clone()
    encoder.embed_positions = nn.Embedding.from_pretrained(weight, freeze=True)
    encoder.max_source_positions = encoder.config.max_source_positions = positions


def _start_head(network: PreTrainedModel) -> None:
    """New weights for the head, whatever head the checkpoint had."""
    std = getattr(network.config, "initializer_range", getattr(network.config, "init_std", 0.02))
    for layer in (network.projector, network.classifier):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    if network.config.use_weighted_layer_sum:
        nn.init.constant_(network.layer_weights, 1 / len(network.layer_weights))


def _add_dropout(classifier: nn.Module, probability: float) -> None:
    """Dropout on the classifier's input, as a hook: the saved structure stays the hub's."""
    if probability > 0:
        classifier.register_forward_pre_hook(lambda module, inputs: (F.dropout(inputs[0], probability, module.training),))
