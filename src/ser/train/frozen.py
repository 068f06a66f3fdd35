"""What is frozen needn't run in every epoch: what a fold trains, and on what, where outputs of an encoder or its lower layers are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate.utils import release_memory

from ser.config import Config
from ser.config.experiment import has_solved_head
from ser.config.explaining import plain_value
from ser.data.inputs import Store
from ser.models.base import FittedModel, SerModel
from ser.models.registry import build_model, model_class
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.progress import busy, say
from ser.runtime.seeds import seed_of
from ser.train.experiment import Experiment
from ser.train.loop import seed_everything
from ser.train.part import Part, note_preparation
from ser.train.precision import precision_of
from ser.train.signals import Stopper


def is_fitted_at_once(config: Config) -> bool:
    """Whether training is one step: kinds without epochs, and a frozen encoder whose head is solved on what never changes."""
    return not model_class(config.model.kind).by_epochs or (has_solved_head(config) and _what_changes_clips(config) is None)


READ_BY_EPOCHS = ("mixup", "average", "label_smoothing", "focal_gamma", "sampler", "class_weights")
"""Keys of the section train that change what a network learns in its epochs; a solved head reads the last of them, too."""
PACE = (
    *("epochs", "batch_size", "accumulation", "learning_rate", "head_learning_rate", "weight_decay", "warmup", "warmup_steps"),
    *("schedule", "clip_norm", "early_stopping", "min_improvement"),
)
"""Keys of the section train that say how its epochs go. Presets (configs/gpu_12gb.yaml) set them for whatever they are laid over."""


def check_train_keys(config: Config) -> str | None:
    """Raise UserError for a key of READ_BY_EPOCHS that is set and that nothing reads, as the model is fitted in one go.

    Returns a sentence on keys of PACE of which the same is true; None where there are none.
    """
    if not is_fitted_at_once(config):
        return None
    usual, solved = Config().train, config.model.kind == "encoder"
    what = "a frozen encoder's head" if solved else f"model.kind {config.model.kind}"
    for name in READ_BY_EPOCHS[: -1 if solved else None]:
        value, default = (getattr(section, name) for section in (config.train, usual))
        if value != default:
            raise UserError(
                f"train.{name}: given {plain_value(value)}, but {what} is fitted in one go, and nothing reads it: "
                f"set it to {plain_value(default)}, or choose a model that is trained by epochs."
            )
    unread = [f"train.{name}" for name in PACE if getattr(config.train, name) != getattr(usual, name)]
    return f"{what} is fitted in one go; not read: {', '.join(unread)}" if unread else None


def fitted_model(run: Experiment, part: Part) -> FittedModel:
    """A model of which `is_fitted_at_once` is true: it has `fit` and `predict`."""
    config = run.config
    seed_everything(seed_of(part.seed, "weights"))
    model = build_model(config.model, run.label_names, config.data.max_seconds)
    note_preparation(model, run, part)
    if config.model.kind != "encoder":
        return model
    from ser.models.encoder.solving import SolvedEncoder

    return SolvedEncoder(model, Path(config.data.cache), make_accelerator(precision_of(config)), config.train.class_weights == "balanced")


def start_head(run: Experiment, model: SerModel, rows: np.ndarray, seed: int, stopper: Stopper) -> None:
    """Fine-tuning of a pretrained encoder starts from the head that fits its outputs (LP-FT, Kumar et al. 2022, arXiv 2202.10054).

    One from scratch has no outputs worth fitting. rows: of the training part. A checkpoint that is restored afterwards brings the head as
    far as it came.
    """
    config = run.config
    if config.model.kind != "encoder" or config.model.from_scratch is not None or config.model.pooling == "attentive":
        return
    from ser.models.encoder.solving import outputs_of, solve_head

    accelerator = make_accelerator(precision_of(config))
    outputs = outputs_of(model, run.train_store, Path(config.data.cache), accelerator, "training clips", stopper.check)
    with busy("solving the head"):
        solve_head(model, outputs, rows, run.train.labels[rows], config.train.class_weights == "balanced", seed)


def what_is_trained(run: Experiment, model: SerModel, stopper: Stopper) -> tuple[SerModel, Store, Store | None]:
    """The network to train and the stores of training and test clips it reads.

    Where `model.freeze` is encoder and a clip is the same in every epoch, that is the model's head on the encoder's outputs; with
    `model.train_last_layers`, these layers and the head on the outputs of the layers below. They are computed once and kept in the
    cache. Else it is the model on the clips. Raises Interrupted when the stopper says so.
    """
    settings = run.config.model
    if settings.kind == "fusion":
        return _fusion_on_vectors(run, model, stopper)
    what = "encoder" if settings.freeze == "encoder" else "layers" if settings.train_last_layers else None
    if settings.kind != "encoder" or what is None:
        return model, run.train_store, run.test_store
    if reason := why_every_epoch(run.config, model):
        say(f"what is frozen of the encoder runs in every epoch: {reason}; else its outputs would be cached.")
        return model, run.train_store, run.test_store
    from ser.models.encoder.frozen_outputs import FrozenHead, LastLayers
    from ser.models.encoder.solving import outputs_of

    accelerator, cache = make_accelerator(precision_of(run.config)), Path(run.config.data.cache)
    below = None if what == "encoder" else model.layer_count - settings.train_last_layers
    train = outputs_of(model, run.train_store, cache, accelerator, "training clips", stopper.check, below)
    test = None
    if run.test_store is not None:
        test = outputs_of(model, run.test_store, cache, accelerator, "test clips", stopper.check, below)
    return FrozenHead(model) if below is None else LastLayers(model, below), train, test


def _fusion_on_vectors(run: Experiment, model: SerModel, stopper: Stopper) -> tuple[SerModel, Store, Store | None]:
    """The small network of a fusion, on the vectors of both sides; the text encoder leaves the GPU when it has done its part."""
    from ser.models.fusion.fusion import FusionHead
    from ser.models.fusion.fusion_vectors import fusion_vectors

    accelerator, cache = make_accelerator(precision_of(run.config)), Path(run.config.data.cache)
    train = fusion_vectors(model, run.train_store, np.arange(len(run.train)), cache, accelerator, "training clips", stopper.check)
    test = None
    if run.test_store is not None:
        usable = np.flatnonzero(run.test_store.usable)
        test = fusion_vectors(model, run.test_store, usable, cache, accelerator, "test clips", stopper.check)
    model.to("cpu")
    release_memory()
    return FusionHead(model), train, test


def why_every_epoch(config: Config, model: SerModel) -> str | None:
    """What keeps the outputs of the frozen part from being computed once for all epochs, if anything does."""
    if changes := _what_changes_clips(config):
        return f"{changes} changes the clips"
    if config.model.freeze == "encoder":
        return None
    if config.model.mask_time_prob or config.model.mask_feature_prob:
        return "model.mask_time_prob and model.mask_feature_prob hide other parts of a clip each time"
    if config.model.layer_weights:
        return "model.layer_weights hears all layers"
    return None if model.has_plain_layers else "this encoder's last layers can't go on from the others' outputs"


def _what_changes_clips(config: Config) -> str | None:
    if config.augment.active and not config.train.augmented_copies:
        return "augment"
    return "train.mixup" if config.train.mixup else None
