"""Any audio encoder of transformers with a classification head.

`pooling=mean` is the library's own `...ForSequenceClassification`: what is saved is what `save_pretrained` writes, and
opens in `pipeline("audio-classification", model=folder)`. The other heads are this project's, on the same encoder.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ser.audio import SAMPLE_RATE
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.base import SerModel, read_card
from ser.models.encoder.extractors import default_extractor, read_extractor, whisper_extractor, whisper_seconds
from ser.models.encoder.freezing import final_norm, freeze, transformer
from ser.models.encoder.frontends import LogMel, frontend_of, longest_seconds
from ser.models.encoder.group_norm import norm_own_frames
from ser.models.encoder.heads import AttentiveHead, PooledHead
from ser.models.encoder.lora import add_adapters, without_adapters
from ser.models.encoder.masking import AST, is_exact_length, norms_over_time, takes_mask
from ser.models.encoder.reading import encoder_of, random_network, read_network
from ser.models.encoder.regularization import add_layer_drop, set_spec_augment, spec_augment
from ser.models.encoder.saving import hub_network, save_own_length
from ser.models.encoder.states import has_plain_layers, hidden_states
from ser.models.hub import checkpoint_folder
from ser.models.pretrained import canonical_names, labels_of, quiet, read_config, set_labels, short
from ser.models.untrained import scratch_config
from ser.runtime.errors import UserError

log = logging.getLogger(__name__)

# WavLM's attention mixes a boolean mask with a float bias; torch says so at every process start.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")

MODEL_TYPES = (
    "wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew", "sew-d", "wav2vec2-conformer",
    "wav2vec2-bert", "whisper", AST,
)  # fmt: skip
HEAD_FILE = "head.safetensors"
# Clips for a classifier from elsewhere, which doesn't say how long it may listen.
FOREIGN_MAX_SECONDS = 15.0


class EncoderModel(SerModel):
    """A transformers encoder and a head on its hidden states."""

    def __init__(
        self,
        encoder: PreTrainedModel,
        head: PooledHead | AttentiveHead,
        extractor: SequenceFeatureExtractor,
        label_names: Sequence[str],
        max_seconds: float,
        frozen: Sequence[nn.Module] = (),
        own_length: bool = True,
    ):
        """own_length: whether a Whisper encoder hears clips without silence behind them."""
        config = encoder.config
        super().__init__("encoder", label_names, min(max_seconds, longest_seconds(extractor)), exact_length=is_exact_length(config))
        if norms_over_time(config):
            norm_own_frames(encoder)
        self.encoder = encoder
        self.head = head
        self.extractor = extractor
        self.frontend = frontend_of(config, extractor, max_seconds, own_length)
        self._frozen = list(frozen)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        with spec_augment(self.encoder, batch) as batch:
            states, mask = hidden_states(self.encoder, batch, self.head.every_layer)
        return self.head(states, mask).float()

    def heard(self, **batch: torch.Tensor) -> torch.Tensor:
        """(B, layers, features): what the encoder makes of the clips, pooled over time, for `answer`. Of a PooledHead."""
        return self.head.pool(*hidden_states(self.encoder, batch, self.head.every_layer))

    def answer(self, heard: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what was heard: with `heard` all that `forward` does in prediction."""
        return self.head.classify(heard).float()

    def is_head(self, name: str) -> bool:
        """Pooling, classifier and layer weights."""
        return name.startswith("head.")

    def frozen(self) -> Sequence[nn.Module]:
        """The modules that `model.freeze` and `model.train_last_layers` keep as they are."""
        return self._frozen

    @property
    def layer_count(self) -> int:
        """Transformer layers."""
        return len(transformer(self.encoder).layers)

    @property
    def has_plain_layers(self) -> bool:
        """Whether the last layers can go on from what the others made of a clip (`ser.models.encoder.states.last_state`)."""
        return has_plain_layers(self.encoder)

    @property
    def opens_in_transformers(self) -> bool:
        """Whether the saved folder is a classifier of transformers, head and all."""
        if not isinstance(self.head, PooledHead) or self.head.deviation:
            return False
        return self.head.class_tokens_eps is None or not self.head.every_layer  # transformers has no layer weights for AST

    def _write(self, folder: Path) -> dict:
        card = {"layer_weights": self.head.every_layer} | ({"frozen_as": self.frozen_as} if self.frozen_as else {})
        if isinstance(self.frontend, LogMel):
            card["own_length"] = self.frontend.own_length
        encoder = without_adapters(self.encoder)
        with quiet():
            self.extractor.save_pretrained(folder)
            (hub_network(encoder, self.head) if self.opens_in_transformers else encoder).save_pretrained(folder)
        if self.opens_in_transformers:
            if card.get("own_length"):
                save_own_length(folder, self.max_seconds)
            return card | {"head": "mean", "how_to_load": _HOW_TO_LOAD[card.get("own_length", False)]}
        save_file({name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}, folder / HEAD_FILE)
        return card | {
            "head": "attentive" if isinstance(self.head, AttentiveHead) else "statistics" if self.head.deviation else "layers",
            "how_to_load": f"ser.models.load_model(FOLDER); the encoder alone by transformers, its head is in {HEAD_FILE}",
        }


_HOW_TO_LOAD = {
    False: "transformers.pipeline('audio-classification', model=FOLDER), or ser.models.load_model(FOLDER)",
    True: "transformers.pipeline('audio-classification', model=FOLDER, trust_remote_code=True), or ser.models.load_model(FOLDER); "
    "without trust_remote_code the pipeline appends silence, and answers otherwise",
}


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> EncoderModel:
    """A pretrained (or, from scratch, random) encoder with a new head; see `ser.models.build_model`."""
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

    encoder = encoder_of(random_network(hub_config) if folder is None else read_network(folder, hub_config, new_head=True))
    if hub_config.model_type == "whisper":
        hub_config.use_cache = False  # the decoder's business, and at odds with gradient checkpointing
        extractor = whisper_extractor(extractor, whisper_seconds(hub_config, max_seconds))
        _keep_positions(encoder, extractor)
    else:
        extractor.return_attention_mask = takes_mask(hub_config)
    frozen = freeze(encoder, config)
    if config.lora_rank is not None:
        add_adapters(encoder, config.lora_rank, config.lora_modules, config.train_last_layers)
    if config.layer_weights and (norm := final_norm(encoder)) and hub_config.model_type != "whisper":
        norm.requires_grad_(False)  # the layers are summed before it, so it takes no part
    add_layer_drop(encoder, config.layer_drop)
    if config.gradient_checkpointing:
        encoder.activation_checkpointing_enable({"use_reentrant": False})
    head = _head(config.pooling, encoder, len(label_names), config.layer_weights, config.head_dropout)
    model = EncoderModel(encoder, head, extractor, label_names, max_seconds, frozen)
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
        network = read_network(folder, config)
        encoder, head = encoder_of(network), PooledHead.from_hub(network)
    else:
        encoder = read_network(folder, config, head=False)
        head = _head(card.get("head"), encoder, len(names), bool(card.get("layer_weights")))
        try:
            head.load_state_dict(load_file(folder / HEAD_FILE), strict=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"{folder / HEAD_FILE} can't be read: {short(error)}") from None
    model = EncoderModel(encoder, head, extractor, names, card["max_seconds"], own_length=bool(card.get("own_length", False)))
    model.frozen_as = card.get("frozen_as")
    return model


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
    network, names = read_network(folder, config), canonical_names(labels_of(config))
    return EncoderModel(encoder_of(network), PooledHead.from_hub(network), extractor, names, seconds, own_length=False)


def _head(
    pooling: str | None, encoder: PreTrainedModel, labels: int, every_layer: bool, dropout: float = 0.0
) -> PooledHead | AttentiveHead:
    layers = len(transformer(encoder).layers) + 1 if every_layer else None
    if pooling == "attentive":
        return AttentiveHead(encoder.config.hidden_size, labels, layers, dropout)
    eps = encoder.config.layer_norm_eps if encoder.config.model_type == AST else None
    return PooledHead(encoder.config.hidden_size, labels, layers, pooling == "statistics", dropout, eps)


def _try_out(model: EncoderModel) -> None:
    """Sizes that only fail in use should fail before the run: one second of silence through the network."""
    model.eval()
    try:
        with torch.no_grad():
            model(**model.frontend.collate([model.frontend.prepare(Utterance(np.zeros(SAMPLE_RATE, np.float32)))]))
    except (RuntimeError, ValueError, IndexError) as error:
        raise UserError(f"model.from_scratch: these sizes make no network: {short(error)}") from None


def _keep_positions(encoder: PreTrainedModel, extractor: SequenceFeatureExtractor) -> None:
    """Cut Whisper's 30 s of sinusoidal positions to the extractor's seconds: the cost falls with the length."""
    positions = extractor.nb_max_frames // 2
    weight = encoder.embed_positions.weight.data[:positions].clone()
    encoder.embed_positions = nn.Embedding.from_pretrained(weight, freeze=True)
    encoder.max_source_positions = encoder.config.max_source_positions = positions
