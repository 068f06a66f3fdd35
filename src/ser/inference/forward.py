"""One model on the clips of a store, batch by batch: probabilities, the same in training, prediction and evaluation; how
large the batches are, and what happens when memory runs out.

A clip's probabilities don't depend on the clips around it: batches are of near-equal length under a mask,
or of exactly equal length for models that hear padding in spite of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import Accelerator

from ser.data.batches import PreparedClips, load_batches, prediction_batches
from ser.data.inputs import Store
from ser.models.base import Model
from ser.models.encoder.in_a_row import takes_clips_in_a_row
from ser.runtime.beside_each_other import beside_each_other, how_many_at_once, weights_cast_once
from ser.runtime.errors import UserError, is_out_of_memory
from ser.runtime.packed_weights import ONE_BY_ONE, packed_weights
from ser.runtime.progress import ProgressBar

HEADS_AT_ONCE = 1024
"""Clips that go through a head in one step, where what its frozen encoder made of them is known."""


KEPT_BYTES = 2**29
"""Of what a frozen encoder made of clips, kept in memory (4 to 200 kB a clip); what is beyond is heard again by the next model."""


class BatchTooLarge(UserError):
    """Memory is too small for a prediction's batch; smaller ones give the same probabilities."""


def predict_probabilities(
    model: Model,
    store: Store,
    rows: np.ndarray,
    batch_size: int,
    accelerator: Accelerator,
    workers: int = 0,
    title: str | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Probabilities (len(rows), labels) as float64, in the order of `rows`; they sum to one but where labels may be several.

    title: shows a progress bar under this name. after_batch: called after every batch; may raise to end the prediction. What a frozen
    encoder makes of a clip is kept with the store, for the next model on the same encoder. Raises BatchTooLarge when memory runs out.
    """
    rows = np.asarray(rows)
    if not model.by_epochs:
        return model.predict(store, rows, title=title, after_file=after_batch)
    model.eval()
    known = None if model.frozen_as is None else store.clips.kept(model.frozen_as)
    hashes = None if known is None else store.report["audio_hash"].to_numpy()
    unheard = rows if known is None else np.array([row for row in rows if hashes[row] not in known], np.int64)
    place = {row: number for number, row in enumerate(rows.tolist())}
    probabilities = np.empty((len(rows), len(model.label_names)))

    def take(batch_rows: np.ndarray, logits: torch.Tensor) -> None:
        likely = torch.sigmoid(logits.double()) if model.multi_label else torch.softmax(logits.double(), dim=-1)
        probabilities[[place[row] for row in batch_rows.tolist()]] = likely.cpu().numpy()
        bar.update(len(batch_rows))
        after_batch()

    def hear(loaded: tuple[np.ndarray, dict[str, torch.Tensor]]) -> tuple[np.ndarray, torch.Tensor]:
        batch_rows, batch = loaded
        with _memory_told(batch_rows, store), accelerator.autocast():
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
            return batch_rows, model(**batch) if known is None else model.heard(**batch)

    bar = ProgressBar(total=len(rows), what=title, hidden=title is None)
    packed = packed_weights(model, accelerator.mixed_precision)
    with torch.no_grad(), packed, weights_cast_once(accelerator.device), bar:
        on_cpu = accelerator.device.type == "cpu"
        at_once = how_many_at_once(torch.get_num_threads(), min(batch_size, len(unheard))) if on_cpu and _is_large(model) else None
        size = min(batch_size, cpu_batch(model) if on_cpu else math.inf)
        if at_once:  # batches at a time, each on threads of its own; of what is kept one by one, as what is known already isn't in a batch
            size = max(1, min(size, batch_size // at_once, len(unheard) // at_once)) if known is None else 1
        batches = prediction_batches(store.frames, unheard, size, model.exact_length)
        loaded = load_batches(PreparedClips(store, model.frontend), batches, workers)
        # A smaller batch_size is asked for where memory is short.
        for batch_rows, heard in beside_each_other(hear, loaded, at_once) if at_once else map(hear, loaded):
            if known is None:
                take(batch_rows, heard)
                continue
            if len(known) * heard[0].nbytes < KEPT_BYTES:
                known.update(zip(hashes[batch_rows], heard.cpu(), strict=True))
            with accelerator.autocast():
                logits = model.answer(heard)
            take(batch_rows, logits)
        for part in _parts(np.setdiff1d(rows, unheard)):
            heard = torch.stack([known[name] for name in hashes[part]]).to(accelerator.device)
            with accelerator.autocast():
                logits = model.answer(heard)
            take(part, logits)
    return probabilities


def cpu_batch(model: Model) -> float:
    """Clips in a batch that a CPU predicts fastest, as the model is now: in a row without padding a few, for what a large network makes
    of several that are padded doesn't stay in its cache. In bf16 a row would move a clip's answer by its neighbours, by a rounding.

    Measured on two cores, one by one, by four and by sixteen: Whisper base 23.7, 27.5 and 22.1 clips/s; wav2vec2-base padded 4.0, 3.5 and
    2.8. On one core wav2vec2-base in a row, one by one, by two, four and eight: 306, 296, 285 and 288 ms a clip in float32.
    """
    if _is_large(model):
        return 4 if takes_clips_in_a_row(model.encoder) else 1
    return 4 if model.kind == "encoder" and _weights(model) > 1_000_000 else math.inf


def _is_large(model: Model) -> bool:
    return model.kind == "encoder" and _weights(model) > ONE_BY_ONE


def _weights(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), HEADS_AT_ONCE):
        yield rows[start : start + HEADS_AT_ONCE]


@contextmanager
def _memory_told(rows: np.ndarray, store: Store) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise BatchTooLarge(
            f"out of memory when predicting {len(rows)} clips of up to {store.longest(rows)} at once. "
            "Take a smaller batch: train.eval_batch_size in training, --batch_size in prediction."
        ) from error
