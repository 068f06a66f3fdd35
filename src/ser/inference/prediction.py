"""A row a clip: probabilities by the mean of a run's folds, a fold or a model folder; its status and no label where it can't be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import pandas as pd
from accelerate import Accelerator

from ser.audio import SAMPLE_RATE
from ser.audio.noise import reduce_noise
from ser.config import DataConfig
from ser.data.inputs import Store, open_store
from ser.data.tables import Table
from ser.data.views import View, needed_seconds
from ser.inference.answers import read_thresholds, with_answers
from ser.inference.forward import predict_probabilities
from ser.inference.opening import as_in_training, check_takes, load_models, on_one_encoder
from ser.inference.views import mean_over_views
from ser.models.base import Model
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.progress import say
from ser.scoring.calibration import read_temperature, scaled


class Predicted(NamedTuple):
    """probabilities: (usable rows of the store, C), as_they_are: the same without views. thresholds: (C,) where a clip may be given several
    labels, None where it has one."""

    probabilities: np.ndarray
    as_they_are: np.ndarray
    label_names: tuple[str, ...]
    thresholds: np.ndarray | None
    store: Store


def predict_views(
    model: Model,
    store: Store,
    rows: np.ndarray,
    views: Sequence[View],
    batch_size: int,
    accelerator: Accelerator,
    workers: int = 0,
    title: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """As `predict_probabilities`, but the mean over the clip as it is and its views, and that of the clip as it is beside it.

    The store as `mean_over_views` wants it.
    """

    def predict(seen: Store, chosen: np.ndarray, view: str) -> np.ndarray:
        named = title if title is None or not view else f"{title}, {view}"
        return predict_probabilities(model, seen, chosen, batch_size, accelerator, workers, named)

    return mean_over_views(predict, store, np.asarray(rows), views, model.max_seconds, model.compares_clips)


class Predictor:
    """A run (the mean of its folds), a fold, a model folder or a hub name, loaded once to predict again and again.

    All folds stay in memory; where that is too small, open one fold. label_names: the model's own, in its order. takes: audio, text, or
    both. max_seconds: how much of a clip it hears at once.
    """

    def __init__(self, model: str | Path, batch_size: int = 16, precision: str = "auto") -> None:
        self.model, self.batch_size = str(model), batch_size
        self.accelerator = make_accelerator(precision)
        self.networks = on_one_encoder(network for _, network in load_models(model, self.accelerator))
        self.temperature = read_temperature(model)
        first = self.networks[0]
        self.takes, self.kind = first.takes, first.kind
        self._one_at_a_time = Lock()  # several threads may ask; a tokenizer may not be asked twice at once
        self.label_names, self.max_seconds, self.noise_reduction = first.label_names, first.max_seconds, first.noise_reduction

    @property
    def compares_clips(self) -> bool:
        """Whether a clip's answer depends on the clips it is given with (voices found by clustering)."""
        return any(network.compares_clips for network in self.networks)

    def probabilities(
        self,
        samples: Sequence[np.ndarray] | None = None,
        speakers: Sequence[str | None] | None = None,
        genders: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
    ) -> np.ndarray:
        """(n, labels) of n clips, each int16 (T,) at 16 kHz, at least 400 samples long, cut to `max_seconds` here.

        speakers, genders (female or male): of each clip, where they are known. texts: what is said, for a model of audio and text ("" where
        that is unknown); for one of texts all there is, and none may be empty. Raises UserError for clips that the model can't take.
        """
        if (samples is None) != (self.takes == "text") or (texts is not None and self.takes == "audio"):
            given = " and ".join([*["audio"] * (samples is not None), *["text"] * (texts is not None)])
            raise UserError(f"{self.model} is a model of kind {self.kind}, which takes {self.takes}; given {given or 'nothing'}.")
        store = Store.of_texts(texts) if samples is None else self._heard(samples, speakers, genders, texts)
        rows = np.arange(len(store))
        with self._one_at_a_time:
            total = sum(predict_probabilities(network, store, rows, self.batch_size, self.accelerator) for network in self.networks)
        return scaled(total / len(self.networks), self.temperature)

    def _heard(
        self,
        samples: Sequence[np.ndarray],
        speakers: Sequence[str | None] | None,
        genders: Sequence[str | None] | None,
        texts: Sequence[str] | None,
    ) -> Store:
        most = int(self.max_seconds * SAMPLE_RATE)
        heard = [reduce_noise(clip[:most]) if self.noise_reduction else clip[:most] for clip in samples]
        said = None if self.takes == "audio" else texts or [""] * len(heard)
        return Store.of_samples(heard, speakers, genders, said)


def predict_files(
    model: str | Path, files: Sequence[Path], data: DataConfig, batch_size: int = 16, precision: str = "auto", workers: int = 0
) -> pd.DataFrame:
    """The table of `predict_table` for audio files, with a run that hears."""
    names = tuple(map(str, files))
    return predict_table(model, Table(names, tuple(map(Path, files))), data, batch_size, precision, workers)[0]


def predict_table(
    model: str | Path,
    table: Table,
    data: DataConfig,
    batch_size: int = 16,
    precision: str = "auto",
    workers: int = 0,
    views: Sequence[View] = (),
    multi_label: bool = False,
) -> tuple[pd.DataFrame, Store]:
    """What `predict_clips` finds as a table, and the clips as the model took them.

    One row per clip in the order given: path and seconds where it hears, text where it reads, status, label (of several: joy|sad),
    confidence, p_<label> …; a clip that can't be used has its status, and no label. One that was predicted without its words has the
    status no_transcript.
    """
    found = predict_clips(model, table, data, batch_size, precision, workers, views, multi_label)
    store = found.store
    status = store.report["status"].where(~store.without_transcript, "no_transcript")
    facts = {"text": table.texts} if store.reads else {}
    facts |= {} if store.clips is None else {"path": list(map(str, table.paths))}
    facts |= {"status": status} | ({} if store.clips is None else {"seconds": store.report["seconds"]})
    return with_answers(pd.DataFrame(facts), found.probabilities, found.label_names, store.usable, found.thresholds), store


def predict_clips(
    model: str | Path,
    table: Table,
    data: DataConfig,
    batch_size: int = 16,
    precision: str = "auto",
    workers: int = 0,
    views: Sequence[View] = (),
    multi_label: bool = False,
) -> Predicted:
    """Predict clips with a run (mean over its folds), a fold, a model folder or a hub name, one model in memory at a time.

    views: in which the clips are predicted, besides as they are. multi_label: whether several labels will do.
    """

    def open_for(network: Model) -> Store:
        heard = as_in_training(network, data)
        store = open_store(network.takes, table, replace(heard, max_seconds=needed_seconds(views, heard.max_seconds)))
        if network.uses_voices and store.speakers is None:
            say(f"warning: {model} asks who speaks, which isn't known here: give a CSV `id,speaker` with --data.speakers.")
        return store

    return mean_probabilities(model, open_for, batch_size, precision, workers, views=views, multi_label=multi_label)


def predict_texts(model: str | Path, texts: Sequence[str], batch_size: int = 16, max_tokens: int | None = None) -> Predicted:
    """Probabilities (n, labels) of texts, none of which may be empty.

    max_tokens: of a text, that a text encoder reads, where that is less than in training. Raises UserError for a model that hears.
    """

    def open_for(network: Model) -> Store:
        check_takes("text", model, network)
        return Store.of_texts(texts)

    return mean_probabilities(model, open_for, batch_size, max_tokens=max_tokens, multi_label=True)


def mean_probabilities(
    model: str | Path,
    open_for: Callable[[Model], Store],
    batch_size: int = 16,
    precision: str = "auto",
    workers: int = 0,
    max_tokens: int | None = None,
    views: Sequence[View] = (),
    multi_label: bool = False,
) -> Predicted:
    """The mean over the models behind `model`, one in memory at a time.

    open_for: the store for the first of the networks. max_tokens: of a text, that a text encoder reads, where that is less than in
    training. views: as for `predict_views`.
    """
    accelerator = make_accelerator(precision)
    store, total, plain, count = None, 0.0, 0.0, 0
    for title, network in load_models(model, accelerator, multi_label):
        store = open_for(network) if store is None else store
        if max_tokens is not None:
            network.read_at_most(max_tokens)
        rows = np.flatnonzero(store.usable)
        found = predict_views(network, store, rows, views, batch_size, accelerator, workers, title)
        total, plain = (before + own for before, own in zip((total, plain), found, strict=True))
        count += 1
    if broken := int((~np.isfinite(total)).any(axis=1).sum()):
        raise UserError(
            f"{model} answers {broken} of {len(total)} {'clips' if store.clips is not None else 'texts'} with no number (NaN) in precision "
            f"{precision}: an overflow; give --precision fp32, and train again where that is no better."
        )
    thresholds, temperature = read_thresholds(model, network.label_names) if network.multi_label else None, read_temperature(model)
    probabilities, as_they_are = (scaled(part / count, temperature) for part in (total, plain))
    return Predicted(probabilities, as_they_are, network.label_names, thresholds, store)
