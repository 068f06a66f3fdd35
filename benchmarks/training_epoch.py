"""A training epoch the ordinary way and this repository's way, on the same clips and the same weights, beside each other.

    python benchmarks/training_epoch.py                                      CPU: a tiny wav2vec 2.0, under a minute on idle cores
    python benchmarks/training_epoch.py --size base --size large --clips 2000     a GPU

Ordinary is what transformers' run_audio_classification.py does: every step decodes its files, pads them to the longest of a random
batch, and goes through Trainer; its feature encoder is frozen as there. As it comes it runs in float32 and loads in the main process;
`same precision` gives it this repository's precision and workers. Ours is `ser.train` itself, its second epoch. Clips have CREMA-D's
lengths (1.3 to 5.0 s, mean 2.5), weights are random. The ways take turns, round after round; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForAudioClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2FeatureExtractor,
)

from ser.config import Config
from ser.train.training import train

LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SIZES = {
    "tiny": {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 192, "conv_dim": [32] * 7},
    "base": {},
    "large": LARGE | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
# Dense bf16 peak in TFLOP/s, from the makers' data sheets.
PEAK = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "3090": 71}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=SIZES, help="may be given more than once; default tiny")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4 if torch.cuda.is_available() else 0)
    parser.add_argument("--output", type=Path, help="JSON to write the figures to")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    found = {"device": device, "torch": torch.__version__, "clips": options.clips, "batch": options.batch, "sizes": {}}
    with tempfile.TemporaryDirectory() as folder:
        make_clips(Path(folder) / "data", options.clips)
        for size in options.size or ["tiny"]:
            found["sizes"][size] = measure(size, Path(folder), options)
            print(json.dumps({size: found["sizes"][size]}, indent=2), flush=True)
            if options.output:
                options.output.write_text(json.dumps(found, indent=2))


def make_clips(folder: Path, count: int) -> None:
    """A competition folder of noise in CREMA-D's lengths, each clip twice, so that two folds leave `count` to train on."""
    draw = np.random.default_rng(0)
    (folder / "train").mkdir(parents=True)
    rows = []
    for number in range(2 * count):
        seconds = float(np.clip(draw.gamma(11, 2.5 / 11), 1.3, 5.0))
        wave = 0.1 * draw.standard_normal(round(16_000 * seconds))
        soundfile.write(folder / "train" / f"{number}.wav", wave, 16_000)
        rows.append({"id": f"c{number}", "path": f"./train/{number}.wav", "label": number % len(LABELS)})
    pd.DataFrame(rows).to_csv(folder / "train.csv", index=False)


def measure(size: str, folder: Path, options: argparse.Namespace) -> dict:
    """Clips a second of each way, medians over rounds; and ratios to the ordinary way as it comes."""
    checkpoint = folder / size
    # One dropout draw in common is all the regularisation: layer drop and SpecAugment would make the two do different work.
    config = CONFIG_MAPPING["wav2vec2"](**SIZES[size], num_labels=len(LABELS), layerdrop=0.0, apply_spec_augment=False)
    AutoModelForAudioClassification.from_config(config).save_pretrained(checkpoint)
    Wav2Vec2FeatureExtractor(return_attention_mask=size == "large").save_pretrained(checkpoint)
    ways = {
        "ordinary, as it comes": lambda: ordinary(checkpoint, folder, options, bf16=False, workers=0),
        "ordinary, same precision and workers": lambda: ordinary(checkpoint, folder, options, torch.cuda.is_available(), options.workers),
        "ours": lambda: ours(checkpoint, folder, options),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    memory = {}
    for _ in range(options.rounds):
        for way, run in ways.items():
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            speeds[way].append(run())
            memory[way] = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    median = {way: statistics.median(rounds) for way, rounds in speeds.items()}
    ratios = {f"ours to {way}": median["ours"] / speed for way, speed in median.items() if way != "ours"}
    return {"clips_per_second": median, "rounds": speeds, "ratios": ratios, "peak_memory_mb": memory, "mfu": mfu(config, median["ours"])}


def mfu(config: object, clips_per_second: float) -> float | None:
    """Model FLOP utilisation: the operations of the encoder's products (6 a weight and frame) over the GPU's bf16 peak."""
    if not torch.cuda.is_available():
        return None
    peak = next((value for name, value in PEAK.items() if name in torch.cuda.get_device_name()), None)
    weights = config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    return None if peak is None else 6 * weights * 2.5 * 50 * clips_per_second / (peak * 1e12)


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


def ordinary(checkpoint: Path, folder: Path, options: argparse.Namespace, bf16: bool, workers: int) -> float:
    """Clips a second of the second epoch of Trainer."""
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    model.freeze_feature_encoder()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint)

    def collate(clips: list[dict]) -> dict:
        batch = extractor([clip["wave"] for clip in clips], sampling_rate=16_000, padding=True, return_tensors="pt")
        return {**batch, "labels": torch.tensor([clip["label"] for clip in clips])}

    clock = EpochClock()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=2,
        per_device_train_batch_size=options.batch,
        bf16=bf16,
        dataloader_num_workers=workers,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    data = Clips(folder, options.clips)
    Trainer(model, arguments, data_collator=collate, train_dataset=data, callbacks=[clock]).train()
    return len(data) / clock.seconds[-1]


def ours(checkpoint: Path, folder: Path, options: argparse.Namespace) -> float:
    """Clips a second of the second epoch of `ser.train`, as its timing.csv says; the first decodes the clips."""
    config = Config()
    config.data.root, config.data.cache = str(folder / "data"), str(folder / "cache")
    config.model.name, config.model.layer_drop = str(checkpoint), 0.0
    config.model.mask_time_prob = 0.0
    config.cv.n, config.train.epochs, config.train.batch_size, config.train.workers = 2, 2, options.batch, options.workers
    config.train.mixup, config.train.label_smoothing = 0.0, 0.0
    config.tracking.mode = "disabled"
    config.run.output, config.run.start_over = str(folder / "run"), True
    train(config, folds=[0])
    timing = pd.read_csv(folder / "run" / "fold_0" / "timing.csv")
    return float(timing["clips_per_second"].iloc[-1])


if __name__ == "__main__":
    main()
