"""An epoch of training a head on a frozen encoder, or the last layers of one: all of it running in every epoch, and outputs cached."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.clips import LABELS, SIZES, make_folder, on_gpu, wait
from benchmarks.measuring import Case, Options, in_turn, quietly
from ser.config import DataConfig, ModelConfig
from ser.data.batches import PreparedClips, load_batches, training_groups
from ser.data.inputs import Store, open_store
from ser.data.tables import read_dataset
from ser.models.base import SerModel
from ser.models.encoder.frozen_outputs import FrozenHead, LastLayers, OutputStore
from ser.models.encoder.solving import outputs_of
from ser.models.registry import build_model
from ser.runtime.device import make_accelerator


def cases(options: Options) -> Iterator[Case]:
    count, batch = options.clips or (8 if options.quick else 256 if on_gpu() else 24), options.batch or (16 if on_gpu() else 8)
    sizes = options.sizes or (["tiny"] if options.quick else ["base"])
    for size in (size for size in sizes if size in SIZES):
        yield compare(size, count, batch, options.rounds)
        yield compare(size, count, batch, options.rounds, last_layers=4)


def compare(size: str, count: int, batch: int, rounds: int, last_layers: int | None = None) -> Case:
    accelerator = make_accelerator("auto")
    with tempfile.TemporaryDirectory() as folder, quietly():
        make_folder(Path(folder) / "data", count)
        data = DataConfig(root=f"{folder}/data", cache=f"{folder}/cache")
        store = open_store("audio", read_dataset(data).train, data)
        torch.manual_seed(0)
        what = {"freeze": "encoder", "layer_weights": True} if last_layers is None else {"train_last_layers": last_layers}
        settings = ModelConfig(from_scratch={"model_type": "wav2vec2"} | SIZES[size], mask_time_prob=0.0, **what)
        model = build_model(settings, LABELS, 15.0).to(accelerator.device)
        below = None if last_layers is None else model.layer_count - last_layers
        started = time.perf_counter()
        outputs = outputs_of(model, store, Path(folder), accelerator, "clips", lambda: None, below)
        once = time.perf_counter() - started
        trained = (FrozenHead(model) if below is None else LastLayers(model, below)).to(accelerator.device)
        ways = {
            "encoder in every epoch": lambda: epoch(model, store, batch, accelerator),
            "outputs cached": lambda: epoch(trained, outputs, batch, accelerator),
        }
        seconds = in_turn(ways, rounds)
    name = f"epoch, {size} frozen" if below is None else f"epoch, last {last_layers} layers of {size}"
    return Case(name, seconds, count, "clips", {"the one pass of the encoder": f"{once:.2f} s"})


def epoch(model: SerModel, store: Store | OutputStore, batch_size: int, accelerator) -> None:
    """Forward, backward and AdamW over all clips once."""
    optimizer = torch.optim.AdamW([each for named in model.parameter_groups().values() for _, each in named], lr=1e-3)
    batches = training_groups(store.frames, np.arange(len(store.frames)), batch_size, 0)
    model.train()
    for rows, batch in load_batches(PreparedClips(store, model.frontend), batches, 0):
        with accelerator.autocast():
            logits = model(**{name: value.to(accelerator.device) for name, value in batch.items()})
        loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(rows % len(LABELS), device=accelerator.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wait()
