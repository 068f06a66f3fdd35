"""Several models on the same clips: what a frozen encoder, or a clip's features, say of a clip is computed once for all of them."""

import platform

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForAudioClassification, pipeline

from checkpoints import LABELS, make_checkpoint, make_classifier, waves
from ser import predict
from ser.config import DataConfig
from ser.data.inputs import Store, open_store
from ser.data.store import ClipStore
from ser.data.tables import read_dataset
from ser.features import extraction, load_features
from ser.inference import forward
from ser.inference.forward import predict_probabilities
from ser.inference.opening import on_one_encoder
from ser.inference.prediction import Predictor
from ser.models.encoder import encoder
from ser.models.registry import load_model
from ser.runtime.device import make_accelerator
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

CLIPS = 10
FROZEN = {"from_scratch": None, "freeze": "encoder", "pooling": "statistics"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", 24, CLIPS)


@pytest.fixture(scope="module")
def frozen(data, tmp_path_factory):
    """A run of two folds on one encoder, which stays as it is."""
    folder = tmp_path_factory.mktemp("frozen")
    model = FROZEN | {"name": str(make_checkpoint(folder / "base", "wav2vec2-layer"))}
    train.main(["--config", str(write_tiny_config(folder / "tiny.yaml", data, model=model))])
    return folder / "outputs" / "tiny"


@pytest.fixture
def heard(monkeypatch):
    """How many clips went through an encoder, batch by batch."""
    counts, through = [], encoder.hidden_states

    def counted(network, batch, every_layer):
        counts.append(len(next(iter(batch.values()))))
        return through(network, batch, every_layer)

    monkeypatch.setattr(encoder, "hidden_states", counted)
    return counts


def answers(table):
    table = pd.read_csv(table)
    return table[[name for name in table if name.startswith("p_")]].to_numpy()


@pytest.mark.parametrize(("views", "times"), [([], 1), (["--predict.views", "speed:0.9,gain:-6"], 3)])
def test_the_folds_of_a_frozen_encoder_hear_each_clip_once(frozen, data, heard, tmp_path, views, times):
    output = tmp_path / "answers.csv"
    predict.main(["--model", str(frozen), str(data / "test.csv"), "--output", str(output), "--data.cache", str(tmp_path), *views])
    assert sum(heard) == times * CLIPS
    folds = [answers(frozen / f"fold_{fold}" / "test.csv") for fold in (0, 1)]
    assert not np.allclose(*folds, atol=1e-3)
    if not views:
        np.testing.assert_allclose(answers(output), np.mean(folds, axis=0), atol=1e-5)


def test_a_part_that_no_memory_is_left_for_is_heard_again(frozen, data, heard, tmp_path, monkeypatch):
    monkeypatch.setattr(forward, "KEPT_BYTES", 1)
    words = ["--model", str(frozen), str(data / "test.csv"), "--output", str(tmp_path / "answers.csv"), "--data.cache", str(tmp_path)]
    predict.main([*words, "--batch_size", "4"])
    assert sum(heard) == CLIPS + (CLIPS - 4), "the first batch is kept"
    folds = [answers(frozen / f"fold_{fold}" / "test.csv") for fold in (0, 1)]
    np.testing.assert_allclose(answers(tmp_path / "answers.csv"), np.mean(folds, axis=0), atol=1e-5)


def test_a_run_in_memory_holds_a_frozen_encoder_once_and_asks_it_once(frozen, heard):
    predictor = Predictor(frozen)
    first, second = predictor.networks
    assert first.encoder is second.encoder and first.head is not second.head
    clips = [(wave * 32767).astype(np.int16) for wave in waves(0.5, 1.1)]
    together = predictor.probabilities(clips)
    assert sum(heard) == 2
    each = [Predictor(frozen / f"fold_{fold}").probabilities(clips) for fold in (0, 1)]
    np.testing.assert_allclose(together, np.mean(each, axis=0), atol=1e-6)


def test_encoders_of_other_weights_are_each_asked(heard, tmp_path):
    folders = [make_classifier(tmp_path / str(seed), "wav2vec2-layer", ("sad", "angry"), seed=seed) for seed in (1, 2)]
    networks = on_one_encoder(load_model(folder) for folder in folders)
    assert networks[0].encoder is not networks[1].encoder
    store = Store.of_samples([(wave * 32767).astype(np.int16) for wave in waves(0.5, 1.1)])
    for network in networks:
        predict_probabilities(network, store, np.arange(2), 2, make_accelerator("fp32"))
    assert sum(heard) == 4


def test_features_of_clips_in_memory_are_computed_once(monkeypatch):
    extracted, extract = [], extraction.extract_rows
    monkeypatch.setattr(extraction, "extract_rows", lambda store, rows, source: extracted.extend(rows) or extract(store, rows, source))
    store = ClipStore.of_samples([(wave * 32767).astype(np.int16) for wave in waves(0.8, 1.1, 0.9)])
    first, again = (load_features(store, rows, "voice")["functionals"] for rows in ([0, 1, 2], [2, 0]))
    assert len(extracted) == 3
    np.testing.assert_array_equal(again, [first[2], first[0]])


@pytest.mark.parametrize(("parameters", "at_a_time"), [(0, 8), (2_000_000, 4), (60_000_000, 1)])
def test_on_a_cpu_a_large_encoder_hears_few_clips_at_a_time(tmp_path, data, heard, parameters, at_a_time):
    """Asked for batches of eight."""
    model = load_model(make_classifier(tmp_path / "classifier", "wav2vec2-layer", LABELS))
    model.ballast = torch.nn.Parameter(torch.empty(parameters, device="meta"))
    table = read_dataset(DataConfig(root=str(data))).train
    store = open_store("audio", table, DataConfig(root=str(data), cache=str(tmp_path / "cache")))
    predict_probabilities(model, store, np.arange(8), 8, make_accelerator("fp32"))
    assert heard == [at_a_time] * (8 // at_a_time)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64") or torch.cuda.is_available(), reason="packed on these processors")
def test_wide_layers_answer_as_transformers_with_packed_weights(tmp_path):
    """A predictor keeps them packed; a network that is judged while it trains has its own again afterwards."""
    config = AutoConfig.from_pretrained(make_checkpoint(tmp_path / "wide", "wav2vec2-layer", hidden_size=256, intermediate_size=512))
    config.id2label = dict(enumerate(LABELS))
    torch.manual_seed(0)
    AutoModelForAudioClassification.from_config(config).save_pretrained(tmp_path / "wide")
    clip = (waves(0.9)[0] * 32767).astype(np.int16)
    ordinary = pipeline("audio-classification", model=str(tmp_path / "wide"), device=-1, top_k=6)
    scores = {row["label"]: row["score"] for row in ordinary({"raw": clip / np.float32(32768), "sampling_rate": 16000})}
    predictor = Predictor(tmp_path / "wide", precision="fp32")
    answers = predictor.probabilities([clip])[0]
    np.testing.assert_allclose(answers, [scores[name] for name in predictor.label_names], atol=1e-5)
    network = load_model(tmp_path / "wide")
    again = predict_probabilities(network, Store.of_samples([clip]), np.arange(1), 1, make_accelerator("fp32"))[0]
    assert np.array_equal(again, answers)
    packed = [sum("forward" in vars(part) for part in one.modules()) for one in (predictor.networks[0], network)]
    assert packed[0] >= 12 and packed[1] == 0


CASTS = {torch.ops.aten.to.dtype, torch.ops.aten._to_copy.default}  # what a cast is in inference mode, and outside it


class CountCasts(TorchDispatchMode):
    """Counts how often each of these weights is copied into another type."""

    def __init__(self, weights):
        super().__init__()
        self.counts = {id(weight): 0 for weight in weights}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in CASTS and id(args[0]) in self.counts:
            self.counts[id(args[0])] += 1
        return function(*args, **kwargs or {})


def test_bf16_casts_each_weight_once_for_all_batches_and_changes_no_answer(tmp_path):
    model = load_model(make_classifier(tmp_path / "bf16", "wav2vec2-layer", LABELS))
    store = Store.of_samples([(wave * 32767).astype(np.int16) for wave in waves(0.5, 0.9, 1.4)])
    rows, accelerator = np.arange(3), make_accelerator("bf16")
    weights = [weight for weight in model.encoder.parameters() if weight.requires_grad and weight.ndim == 2]
    with CountCasts(weights) as casts:
        together = predict_probabilities(model, store, rows, 1, accelerator)
    assert set(casts.counts.values()) == {1}
    alone = [predict_probabilities(model, store, rows[row : row + 1], 1, accelerator) for row in rows]
    np.testing.assert_array_equal(together, np.concatenate(alone))
