"""A training epoch the ordinary way and this repository's way, on the same clips and the same weights.

Ordinary is what transformers' run_audio_classification.py does: every step decodes its files, pads them to the longest of a random
batch, and goes through Trainer; the feature encoder is frozen as there (Whisper: all is trained, on 30 s, on both sides what the
family does as it comes). As it comes it runs in float32 and loads in the main process; "same precision" gives it this repository's
precision and workers. Ours is `ser.train` itself, its second epoch, as its timing.csv says: as it comes, and in float32 where that is
something else.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import soundfile
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.clips import PEAK, RATE, make_checkpoint, make_folder, on_gpu
from benchmarks.measuring import Case, Options, in_turn, memory_as_it_comes, quietly
from ser.config import Config
from ser.train.precision import precision_of
from ser.train.training import train


def cases(options: Options) -> Iterator[Case]:
    gpu = on_gpu()
    count = max(8, options.clips or (8 if options.quick else 2000 if gpu else 96))  # every label in both folds
    batch, workers = options.batch or (16 if gpu else 8), (4 if gpu else 0) if options.workers is None else options.workers
    for size in options.sizes or (["tiny"] if options.quick else ["base", "large"] if gpu else ["tiny", "base"]):
        with tempfile.TemporaryDirectory() as folder:
            make_folder(Path(folder) / "data", count, folds=2)  # two folds leave `count` to train on
            yield compare(size, Path(folder), count, batch, workers, options.rounds)


def compare(size: str, folder: Path, count: int, batch: int, workers: int, rounds: int) -> Case:
    """Seconds of an epoch of each way; on a GPU with the memory each takes and ours' share of the GPU's peak."""
    checkpoint = make_checkpoint(folder / size, size)
    memory: dict[str, float] = {}
    waiting: list[float] = []

    def own(precision: str) -> float:
        timing = ours(checkpoint, folder, batch, workers, size, precision)
        waiting.append(timing["waiting_seconds"] / timing["train_seconds"])
        return timing["train_seconds"]

    ways = {
        "ordinary, as it comes": lambda: ordinary(checkpoint, folder, count, batch, False, 0),
        "ordinary, same precision and workers": lambda: ordinary(checkpoint, folder, count, batch, on_gpu(), workers),
        "ser.train, as it comes": lambda: own("auto"),
        "ser.train, float32": lambda: own("fp32"),
    }
    if precision_of(our_config(checkpoint, folder, batch, workers, size, "auto")) == "auto":
        del ways["ser.train, float32"]  # as it comes, or on a GPU, where nobody wants it
    if not on_gpu() and not workers:
        del ways["ordinary, same precision and workers"]  # it is the same

    def watched(way: str, run) -> float:
        if on_gpu():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with quietly():
            seconds = run()
        if on_gpu():
            memory[way] = round(torch.cuda.max_memory_allocated() / 2**20)
        return seconds

    # Both measure their second epoch: nothing is to be warmed up.
    seconds = in_turn({way: (lambda way=way, run=run: watched(way, run)) for way, run in ways.items()}, rounds, warm=False)
    notes = {"batch": batch, "workers": workers} | ({"GPU memory in MB": memory} if memory else {})
    notes["of an epoch of ser.train, waiting for clips"] = f"{statistics.median(waiting):.1%}"
    if used := mfu(checkpoint, count / min(seconds["ser.train, as it comes"])):
        notes["MFU, bf16, of ser.train"] = f"{used:.0%}"
    return Case(f"epoch, {size}", seconds, count, "clips", notes)


def mfu(checkpoint: Path, clips_per_second: float) -> float | None:
    """Model FLOP utilisation: the operations of the encoder's products (6 a weight and frame) over the GPU's bf16 peak."""
    peak = next((value for name, value in PEAK.items() if on_gpu() and name in torch.cuda.get_device_name()), None)
    config = AutoConfig.from_pretrained(checkpoint)
    if peak is None or config.model_type != "wav2vec2":
        return None
    weights = config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    return 6 * weights * 2.5 * 50 * clips_per_second / (peak * 1e12)


class Clips(torch.utils.data.Dataset):
    """Files decoded when they are asked for, as the ordinary way does."""

    def __init__(self, folder: Path, count: int) -> None:
        self.table = pd.read_csv(folder / "data" / "train.csv").head(count)
        self.folder = folder / "data"

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> dict:
        wave, _ = soundfile.read(self.folder / self.table["path"][row], dtype="float32")
        return {"wave": wave, "label": int(self.table["label"][row])}


class EpochClock(TrainerCallback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_, **__) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, *_, **__) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def ordinary(checkpoint: Path, folder: Path, count: int, batch: int, bf16: bool, workers: int) -> float:
    """Seconds of the second epoch of Trainer."""
    memory_as_it_comes()
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    padding = {} if model.config.model_type == "whisper" else {"padding": True}  # Whisper's extractor pads to 30 s by itself

    def collate(clips: list[dict]) -> dict:
        batch = extractor([clip["wave"] for clip in clips], sampling_rate=RATE, return_tensors="pt", **padding)
        return {**batch, "labels": torch.tensor([clip["label"] for clip in clips])}

    clock = EpochClock()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=2,
        per_device_train_batch_size=batch,
        bf16=bf16,
        dataloader_num_workers=workers,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    Trainer(model, arguments, data_collator=collate, train_dataset=Clips(folder, count), callbacks=[clock]).train()
    return clock.seconds[-1]


def ours(checkpoint: Path, folder: Path, batch: int, workers: int, size: str, precision: str) -> dict[str, float]:
    """The line of timing.csv of the second epoch of `ser.train`; the clips were decoded and the head solved before."""
    train(our_config(checkpoint, folder, batch, workers, size, precision), folds=[0])
    return pd.read_csv(folder / "run" / "fold_0" / "timing.csv").iloc[-1].to_dict()


def our_config(checkpoint: Path, folder: Path, batch: int, workers: int, size: str, precision: str) -> Config:
    config = Config()
    config.data.root, config.data.cache = str(folder / "data"), str(folder / "cache")
    config.model.name, config.model.layer_drop, config.model.mask_time_prob = str(checkpoint), 0.0, 0.0
    config.model.freeze = "none" if size == "whisper" else "feature_encoder"
    config.cv.n, config.train.epochs, config.train.batch_size, config.train.workers = 2, 2, batch, workers
    config.train.precision, config.tracking.mode = precision, "disabled"
    config.run.output, config.run.start_over = str(folder / "run"), True
    return config
