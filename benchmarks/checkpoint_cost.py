"""What checkpoints cost: their share of the training time at the default interval.

    python benchmarks/checkpoint_cost.py
    python benchmarks/checkpoint_cost.py --large --folder /mnt/slow

First the demo's own training, with a stopwatch on everything that is written for a resume. It is shorter than the interval, so
it has one checkpoint per fold and no more. Then a network of wav2vec2-base's size (and -large's) with random weights: one
optimizer step to fill AdamW's state, and the seconds of a checkpoint, against the time between two of them. A slow disk makes
checkpoints rarer (`ser.train.hooks.LARGEST_SHARE`), so their share stays under 3 % on any.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ser.config import Config, ModelConfig, TrainConfig, load_config
from ser.data.utterance import Utterance
from ser.make_demo.folder import make_demo
from ser.models.registry import build_model
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import open_run
from ser.train.fold import train_fold
from ser.train.hooks import LARGEST_SHARE
from ser.train.optimizer import build_optimizer
from ser.train.signals import Stopper

LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")
SIZES = {
    "wav2vec2-base size (95 M)": {"model_type": "wav2vec2"},
    "wav2vec2-large size (316 M)": {
        "model_type": "wav2vec2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written; a temporary folder without it")
    parser.add_argument("--epochs", type=int, default=3, help="of the demo")
    parser.add_argument("--repeats", type=int, default=3, help="checkpoints of the larger networks; the median counts")
    parser.add_argument("--large", action="store_true", help="also the large network: 12 GB of memory, 6 GB of disk")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print(
            f"allowed: 3 %; a checkpoint every {Config().run.checkpoint_minutes:g} minutes, or rarer than {LARGEST_SHARE:.0%} of the time"
        )
        measure_demo(Path(folder), given.epochs)
        for name, sizes in list(SIZES.items())[: 2 if given.large else 1]:
            measure_size(Path(folder) / name.split()[0], name, sizes, given.repeats)


def measure_demo(folder: Path, epochs: int) -> None:
    """One fold of the demo config on the demo's data, as `python -m ser.train` trains it."""
    make_demo(folder / "demo")
    config = load_config(Path(__file__).parents[1] / "configs" / "demo.yaml")
    config.data.root, config.data.cache, config.run.output = str(folder / "demo"), str(folder / "cache"), str(folder / "run")
    config.train.epochs, config.tracking.mode = epochs, "disabled"
    run = open_run(config)
    spent = [stopwatch(Checkpoints, name) for name in ("save", "keep_best", "load_best", "remove")]
    started = time.perf_counter()
    train_fold(run, 0, Stopper())
    whole, cost = time.perf_counter() - started, sum(map(sum, spent))
    print(f"demo, {epochs} epochs of fold 0: {cost:.2f} s of {whole:.1f} s are checkpoints, {cost / whole:.2%}")


def measure_size(folder: Path, name: str, sizes: dict, repeats: int) -> None:
    """Seconds of a checkpoint of a larger network with its best weights, and its share at the default interval."""
    model = build_model(ModelConfig(from_scratch=sizes, freeze="feature_encoder"), LABELS, 15.0)
    optimizer = build_optimizer(model, TrainConfig())
    batch = model.frontend.collate([model.frontend.prepare(Utterance(torch.randn(16_000).numpy())) for _ in range(2)])
    model.train()
    model(**batch).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    checkpoints, seconds = Checkpoints(folder), []
    for step in range(1, repeats + 1):
        started = time.perf_counter()
        # Every epoch the best one so far, and an epoch between any two checkpoints: it can't cost more.
        checkpoints.keep_best(model, step)
        checkpoints.save(model, optimizer, {"global_step": step, "epoch": step, "best_epoch": step})
        seconds.append(time.perf_counter() - started)
    gigabytes = sum(path.stat().st_size for path in checkpoints.folder.rglob("*.safetensors")) / 1e9
    checkpoints.remove()
    median = statistics.median(seconds)
    asked = 60 * Config().run.checkpoint_minutes
    interval = max(asked, median / LARGEST_SHARE)
    print(
        f"{name}: {gigabytes:.1f} GB in {median:.1f} s (of {repeats}: {min(seconds):.1f} to {max(seconds):.1f}), "
        f"every {interval / 60:.1f} minutes: {median / (interval + median):.2%}"
        + ("" if interval == asked else f" (every {asked / 60:g} it would be {median / (asked + median):.2%})")
    )


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


if __name__ == "__main__":
    main()
