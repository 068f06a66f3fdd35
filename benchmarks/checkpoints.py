"""What checkpoints cost: a fold of the demo with and without them, and their share of the time at the size of real networks.

The demo is shorter than the interval between two checkpoints, so it has one per fold and no more. A network of wav2vec2-base's size
(and -large's, with --sizes large: 12 GB of memory, 6 GB of disk) has one optimizer step behind it, which fills AdamW's state. A slow disk
makes checkpoints rarer (`ser.train.hooks.LARGEST_SHARE`), so their share stays under 3 % on any.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.clips import LABELS, SIZES
from benchmarks.measuring import Case, Options, in_turn, quietly
from ser.config import Config, ModelConfig, TrainConfig, load_config
from ser.data.utterance import Utterance
from ser.make_demo.folder import make_demo
from ser.models.registry import build_model
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.hooks import LARGEST_SHARE
from ser.train.optimizer import build_optimizer
from ser.train.signals import Stopper


def cases(options: Options) -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        yield demo(Path(folder), options)
        for size in options.sizes or (["tiny"] if options.quick else ["base"]):
            if size in SIZES:
                yield of_size(Path(folder) / size, size, options.rounds)


def demo(folder: Path, options: Options) -> Case:
    """One fold of the demo config, with a stopwatch on everything that is written for a resume."""
    seconds: dict[str, list[float]] = {"without checkpoints": [], "with checkpoints": []}
    with quietly():
        make_demo(folder / "demo", 36 if options.quick else 240, 6)
        spent = [stopwatch(Checkpoints, name) for name in ("save", "keep_best", "load_best", "remove")]
        for number in range(options.rounds):
            config = load_config(Path(__file__).parents[1] / "configs" / "demo.yaml")
            config.data.root, config.data.cache, config.run.output = str(folder / "demo"), str(folder / "cache"), str(folder / f"{number}")
            config.train.epochs, config.tracking.mode = 1 if options.quick else 3, "disabled"
            run, before, started = open_experiment(config), sum(map(sum, spent)), time.perf_counter()
            train_fold(run, 0, Stopper())
            whole = time.perf_counter() - started
            seconds["with checkpoints"].append(whole)
            seconds["without checkpoints"].append(whole - (sum(map(sum, spent)) - before))
    return Case("a fold of the demo", seconds, notes={"epochs": config.train.epochs})


def of_size(folder: Path, size: str, rounds: int) -> Case:
    """Seconds of a checkpoint of a network with its best weights; its share at the default interval is a note."""
    model = build_model(ModelConfig(from_scratch={"model_type": "wav2vec2"} | SIZES[size], freeze="feature_encoder"), LABELS, 15.0)
    optimizer = build_optimizer(model, TrainConfig())
    batch = model.frontend.collate([model.frontend.prepare(Utterance(torch.randn(16_000).numpy())) for _ in range(2)])
    model.train()
    model(**batch).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    checkpoints, steps = Checkpoints(folder), iter(range(1, 10_000))

    def save() -> None:
        # Every epoch the best one so far, and an epoch between any two checkpoints: it can't cost more.
        step = next(steps)
        checkpoints.keep_best(model, step)
        checkpoints.save(model, optimizer, {"global_step": step, "epoch": step, "best_epoch": step})

    seconds = in_turn({"a checkpoint": save}, rounds)
    gigabytes = sum(path.stat().st_size for path in checkpoints.folder.rglob("*.safetensors")) / 1e9
    median = sorted(seconds["a checkpoint"])[rounds // 2]
    interval = max(60 * Config().run.checkpoint_minutes, median / LARGEST_SHARE)
    notes = {"on the disk": f"{gigabytes:.1f} GB", f"share, one every {interval / 60:.1f} minutes": f"{median / (interval + median):.2%}"}
    return Case(f"wav2vec2 {size}", seconds, notes=notes)


def stopwatch(owner: type, name: str) -> list[float]:
    """Let every call of a method add its seconds to the list returned."""
    method: Callable = getattr(owner, name)
    seconds: list[float] = []

    def timed(*given, **named):
        started = time.perf_counter()
        try:
            return method(*given, **named)
        finally:
            seconds.append(time.perf_counter() - started)

    setattr(owner, name, timed)
    return seconds
