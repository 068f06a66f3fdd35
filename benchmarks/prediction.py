"""Files to probabilities: pipeline("audio-classification") on decoded arrays, one by one as it comes and in batches, and ser.predict.

Every round decodes all files anew. The answers are compared: a batch of the pipeline is padded, which changes what a network with a
group-norm feature encoder answers; one by one is the truth both are held against. The limit that is known is the machine's rate of
products: the share that a whole prediction reaches, decoding and all, is told.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import pipeline

from benchmarks.clips import LABELS, RATE, make_checkpoint, make_folder, on_gpu, wait
from benchmarks.limits import operations, product_rate
from benchmarks.measuring import Case, Options, in_turn, memory_as_it_comes, quietly
from ser.config import DataConfig
from ser.inference.prediction import predict_files
from ser.runtime.device import cpu_has_bf16


def cases(options: Options) -> Iterator[Case]:
    count = options.clips or (8 if options.quick else 2000 if on_gpu() else 64)
    batch = options.batch or (16 if on_gpu() else 8)
    for size in options.sizes or (["tiny"] if options.quick else ["base", "large"] if on_gpu() else ["tiny", "base"]):
        with tempfile.TemporaryDirectory() as folder, quietly():
            case = compare(size, Path(folder), count, batch, options)
        yield case


def compare(size: str, folder: Path, count: int, batch: int, options: Options) -> Case:
    checkpoint = make_checkpoint(folder / size, size)
    files = sorted((make_folder(folder / "data", count) / "train").iterdir())
    answers: dict[str, np.ndarray] = {}
    ordinary = pipeline("audio-classification", model=str(checkpoint), device=0 if torch.cuda.is_available() else -1, top_k=len(LABELS))

    def by_pipeline(way: str, size_of_batch: int) -> None:
        memory_as_it_comes()
        waves = ({"raw": soundfile.read(path, dtype="float32")[0], "sampling_rate": RATE} for path in files)
        given = list(ordinary(waves, batch_size=size_of_batch))
        answers[way] = np.array([[{row["label"]: row["score"] for row in answer}[name] for name in LABELS] for answer in given])
        wait()

    def by_ser(way: str, precision: str) -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        table = predict_files(checkpoint, files, DataConfig(cache=str(folder / "cache")), batch, precision)
        answers[way] = table[[f"p_{name}" for name in LABELS]].to_numpy()
        wait()

    ways = {
        "pipeline, one by one": lambda: by_pipeline("pipeline, one by one", 1),
        f"pipeline, batches of {batch}": lambda: by_pipeline(f"pipeline, batches of {batch}", batch),
        "ser.predict, float32": lambda: by_ser("ser.predict, float32", "fp32"),
    }
    if on_gpu() or cpu_has_bf16():
        ways["ser.predict, bf16"] = lambda: by_ser("ser.predict, bf16", "bf16")
    seconds = in_turn(ways, options.rounds)
    truth = answers["pipeline, one by one"]
    notes = {
        f"{way}: largest difference, other labels": f"{np.abs(answer - truth).max():.1e}, {(answer.argmax(1) != truth.argmax(1)).sum()}"
        for way, answer in answers.items()
        if answer is not truth
    }
    work = operations(lambda: by_pipeline("pipeline, one by one", 1))  # the same, and in this thread, as torch counts
    for way, precision in {"ser.predict, float32": torch.float32, "ser.predict, bf16": torch.bfloat16}.items():
        if way in seconds:
            rate, limit = work / min(seconds[way]), product_rate(precision)
            notes[f"{way}: of the rate of one linear layer"] = f"{rate / limit:.0%} ({rate / 1e9:,.0f} of {limit / 1e9:,.0f} GFLOP/s)"
    return Case(f"files to probabilities, {size}", seconds, count, "clips", notes)
