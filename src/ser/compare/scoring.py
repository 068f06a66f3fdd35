"""What is measured of a candidate: how often it is right, how sure that is, how fast it is, how much memory it takes."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ser.compare.adapters import Opened
from ser.compare.labelled import Labelled
from ser.compare.rules import TARGET, mapped
from ser.data.inputs import open_store
from ser.runtime.device import peak_memory_mb
from ser.scoring.intervals import macro_f1, score_interval, share_interval, tallies_by_speaker, uar, usable_speakers
from ser.scoring.metrics import scores

SPEED_CLIPS = 24
BATCH_CLIPS = 4
BATCH = 8
NEUTRAL = TARGET.index("neutral")


def measure(opened: Opened, labelled: Labelled, device: torch.device) -> dict:
    """Scores of the answers, seconds per clip, real-time factor, peak memory, and what a batch changes."""
    result = score(opened.probabilities(), opened.classes, labelled.truth, labelled.table.speakers)
    return result | _speed(opened, labelled) | {"peak_memory_mb": _peak_memory_mb(device)}


def score(probabilities: np.ndarray, classes: Sequence[str], truth: np.ndarray, speakers: Sequence[str] | None) -> dict:
    """Accuracy, macro-F1, UAR and neutral rate with 95 % intervals, and their company.

    probabilities (N, classes) are added up into the seven labels; classes that stand for none of them count for nothing. truth (N,) are
    positions in TARGET.
    """
    seven = to_target(probabilities, classes)
    answers = seven.argmax(axis=1)
    result, known = scores(truth, seven, speakers), usable_speakers(speakers, len(truth))
    neutral = answers == NEUTRAL
    result["neutral_rate"] = float(neutral.mean())
    result["neutral_rate_low"], result["neutral_rate_high"] = share_interval(neutral, known)
    confusions = np.zeros((len(truth), len(TARGET), len(TARGET)))
    confusions[np.arange(len(truth)), truth, answers] = 1
    tallies = tallies_by_speaker(confusions, known)
    for name, of_confusions in (("macro_f1", macro_f1), ("uar", uar)):
        result[f"{name}_low"], result[f"{name}_high"] = score_interval(of_confusions, *tallies)
    result["answers"] = [TARGET[answer] for answer in np.unique(answers)]
    return result


def to_target(probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """(N, classes) -> (N, 7), the registry's mapping: calm counts as neutral, `other` as nothing."""
    seven = np.zeros((len(probabilities), len(TARGET)))
    for column, label in enumerate(mapped(classes)):
        if label is not None:
            seven[:, TARGET.index(label)] += probabilities[:, column]
    return seven


def _speed(opened: Opened, labelled: Labelled) -> dict:
    """From decoded audio to the answer, in an empty cache, because features found in a cache would cost nothing."""
    if opened.predict is None:
        return {"seconds_per_clip": np.nan, "real_time_factor": np.nan, "batch_difference": 0.0}
    table = labelled.table.take(labelled.rows[: SPEED_CLIPS + BATCH_CLIPS])
    with tempfile.TemporaryDirectory() as cache:
        store = open_store("audio", table, replace(labelled.config, cache=cache))
        rows = np.arange(len(table))
        few, many = rows[:BATCH_CLIPS], rows[BATCH_CLIPS:] if len(rows) > 2 * BATCH_CLIPS else rows
        together, alone = opened.predict(store, few, BATCH), opened.predict(store, few, 1)  # the first call also pays for set-up
        started = time.perf_counter()
        opened.predict(store, many, BATCH)
        seconds = time.perf_counter() - started
        audio = float(store.report["seconds"].to_numpy()[many].sum())
    return {
        "seconds_per_clip": seconds / len(many),
        "real_time_factor": seconds / audio,
        "batch_difference": float(np.abs(together - alone).max()),
    }


def reset_peak_memory(device: torch.device) -> None:
    """Begin to count anew, so that a candidate isn't charged for the one before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb(device: torch.device) -> float:
    """Since `reset_peak_memory`: of the GPU where there is one, else of the whole process, Python and libraries included."""
    if device.type != "cuda":
        with suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return peak_memory_mb(device)
