"""An epoch of training a head on a frozen encoder: the encoder running in every epoch, and its outputs cached."""

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
from ser.models.encoder.frozen_outputs import FrozenHead, OutputStore, cached_outputs, outputs_folder
from ser.models.registry import build_model
from ser.runtime.device import make_accelerator


def cases(options: Options) -> Iterator[Case]:
    count, batch = options.clips or (256 if on_gpu() else 8 if options.quick else 24), options.batch or (16 if on_gpu() else 8)
    sizes = options.sizes or (["tiny"] if options.quick else ["base"])
    for size in (size for size in sizes if size in SIZES):
        yield compare(size, count, batch, options.rounds)


def compare(size: str, count: int, batch: int, rounds: int) -> Case:
    accelerator = make_accelerator("auto")
    with tempfile.TemporaryDirectory() as folder, quietly():
        make_folder(Path(folder) / "data", count)
        data = DataConfig(root=f"{folder}/data", cache=f"{folder}/cache")
        store = open_store("audio", read_dataset(data).train, data)
        torch.manual_seed(0)
        settings = ModelConfig(from_scratch={"model_type": "wav2vec2"} | SIZES[size], freeze="encoder", layer_weights=True)
        model = build_model(settings, LABELS, 15.0).to(accelerator.device)
        started = time.perf_counter()
        outputs = cached_outputs(model, store, np.arange(len(store)), outputs_folder(model, Path(folder), accelerator), accelerator)
        once = time.perf_counter() - started
        head = FrozenHead(model).to(accelerator.device)
        ways = {
            "encoder in every epoch": lambda: epoch(model, store, batch, accelerator),
            "outputs cached": lambda: epoch(head, outputs, batch, accelerator),
        }
        seconds = in_turn(ways, rounds)
    return Case(f"epoch, {size} frozen", seconds, count, "clips", {"the one pass of the encoder": f"{once:.2f} s"})


def epoch(model: SerModel, store: Store | OutputStore, batch_size: int, accelerator) -> None:
    """Forward, backward and AdamW over all clips once."""
    optimizer = torch.optim.AdamW([parameter for _, parameter in model.parameter_groups()["head"]], lr=1e-3)
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
