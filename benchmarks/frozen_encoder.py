"""An epoch of training a head on a frozen encoder: outputs cached, beside the encoder running in every epoch.

    python benchmarks/frozen_encoder.py                 CPU, wav2vec2-base's sizes with random weights, a few minutes
    python benchmarks/frozen_encoder.py --clips 256     a GPU

The two ways take turns on the same clips. What caching costs once (the encoder's one pass, clip by clip) is shown beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ser.config import DataConfig, ModelConfig
from ser.data.batches import PreparedClips, load_batches, training_groups
from ser.data.inputs import Store, open_store
from ser.data.tables import read_dataset
from ser.make_demo.folder import make_demo
from ser.models.base import SerModel
from ser.models.encoder.frozen_outputs import FrozenHead, OutputStore, cached_outputs, outputs_folder
from ser.models.registry import build_model
from ser.runtime.device import make_accelerator

LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    accelerator = make_accelerator("auto")
    with tempfile.TemporaryDirectory() as folder:
        make_demo(Path(folder) / "demo", given.clips, 6, 0)
        data = DataConfig(root=f"{folder}/demo", cache=f"{folder}/cache")
        store = open_store("audio", read_dataset(data).train, data)
        torch.manual_seed(0)
        settings = ModelConfig(from_scratch={"model_type": "wav2vec2"}, freeze="encoder", layer_weights=True)
        model = build_model(settings, LABELS, 15.0).to(accelerator.device)
        started = time.perf_counter()
        outputs = cached_outputs(model, store, np.arange(len(store)), outputs_folder(model, Path(folder), accelerator), accelerator)
        once = time.perf_counter() - started
        ways = {"encoder in every epoch": (model, store), "outputs cached": (FrozenHead(model).to(accelerator.device), outputs)}
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(given.rounds):
            for name, (network, clips) in ways.items():
                best[name] = min(best[name], epoch_seconds(network, clips, given.batch, accelerator))
    length = store.frames.mean() / 16_000
    print(f"{accelerator.device}; torch {torch.__version__}; {given.clips} clips of {length:.1f} s, batches of {given.batch}")
    for name, seconds in best.items():
        print(f"{name:24s} {seconds:8.3f} s an epoch {given.clips / seconds:10.1f} clips/s")
    plain, cached = best.values()
    print(f"ratio {plain / cached:.0f}; the one pass over the clips took {once:.1f} s, as long as {once / plain:.1f} of the plain epochs")


def epoch_seconds(model: SerModel, store: Store | OutputStore, batch_size: int, accelerator) -> float:
    """Forward, backward and AdamW over all clips once."""
    optimizer = torch.optim.AdamW([parameter for _, parameter in model.parameter_groups()["head"]], lr=1e-3)
    batches = training_groups(store.frames, np.arange(len(store.frames)), batch_size, 0)
    model.train()
    started = time.perf_counter()
    for rows, batch in load_batches(PreparedClips(store, model.frontend), batches, 0):
        with accelerator.autocast():
            logits = model(**{name: value.to(accelerator.device) for name, value in batch.items()})
        loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(rows % len(LABELS), device=accelerator.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
