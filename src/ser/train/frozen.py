"""A frozen encoder needn't run in every epoch: what a fold trains, and on what, where its outputs can be cached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate.utils import release_memory

from ser.config import Config
from ser.data.augmentation import Augmenter
from ser.data.inputs import Store
from ser.models.base import SerModel
from ser.runtime.device import make_accelerator
from ser.runtime.progress import say
from ser.train.experiment import Experiment
from ser.train.signals import Stopper


def what_is_trained(run: Experiment, model: SerModel, stopper: Stopper) -> tuple[SerModel, Store, Store | None]:
    """The network to train and the stores of training and test clips it reads.

    Where `model.freeze` is encoder and a clip is the same in every epoch, that is the model's head on the encoder's outputs, which are
    computed once and kept in the cache; else the model on the clips. Raises Interrupted when the stopper says so.
    """
    if run.config.model.kind == "fusion":
        return _fusion_on_vectors(run, model, stopper)
    if run.config.model.kind != "encoder" or run.config.model.freeze != "encoder":
        return model, run.train_store, run.test_store
    if changes := _what_changes_clips(run.config):
        say(f"the frozen encoder runs in every epoch, because {changes} changes the clips; without, its outputs would be cached.")
        return model, run.train_store, run.test_store
    from ser.models.encoder.frozen_outputs import FrozenHead, cached_outputs, outputs_folder

    accelerator = make_accelerator(run.config.train.precision)
    folder = outputs_folder(model, Path(run.config.data.cache), accelerator)
    everything = np.arange(len(run.train))
    train = cached_outputs(model, run.train_store, everything, folder, accelerator, "training clips", stopper.check)
    test = None
    if run.test_store is not None:
        usable = np.flatnonzero(run.test_store.usable)
        test = cached_outputs(model, run.test_store, usable, folder, accelerator, "test clips", stopper.check)
    return FrozenHead(model), train, test


def _fusion_on_vectors(run: Experiment, model: SerModel, stopper: Stopper) -> tuple[SerModel, Store, Store | None]:
    """The small network of a fusion, on the vectors of both sides; the text encoder leaves the GPU when it has done its part."""
    from ser.models.fusion.fusion import FusionHead
    from ser.models.fusion.fusion_vectors import fusion_vectors

    accelerator, cache = make_accelerator(run.config.train.precision), Path(run.config.data.cache)
    train = fusion_vectors(model, run.train_store, np.arange(len(run.train)), cache, accelerator, "training clips", stopper.check)
    test = None
    if run.test_store is not None:
        usable = np.flatnonzero(run.test_store.usable)
        test = fusion_vectors(model, run.test_store, usable, cache, accelerator, "test clips", stopper.check)
    model.to("cpu")
    release_memory()
    return FusionHead(model), train, test


def _what_changes_clips(config: Config) -> str | None:
    if Augmenter(config.augment).active:
        return "augment"
    return "train.mixup" if config.train.mixup else None
