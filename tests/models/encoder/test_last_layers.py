"""The layers below the trained ones run once per clip, and training on their outputs is training on the clips."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from soak import compare

from checkpoints import LABELS, logits, make_checkpoint, waves
from ser import predict
from ser.config import DataConfig, ModelConfig, load_config
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.models.encoder import frozen_outputs
from ser.models.encoder.frozen_outputs import LastLayers
from ser.models.encoder.solving import outputs_of
from ser.models.registry import build_model
from ser.runtime.device import make_accelerator
from ser.runtime.errors import Interrupted, UserError
from ser.train import frozen
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.frozen import why_every_epoch
from ser.train.signals import Stopper
from sounds import write_wav
from tiny import make_tiny_data, write_tiny_config

PLAIN = ("wav2vec2-group", "wav2vec2-layer", "hubert-layer", "data2vec-audio", "whisper")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    paths = [write_wav(folder / f"{i}.wav", clip) for i, clip in enumerate(waves(0.4, 1.3, 0.9, 1.3))]
    return Store.of_clips(ClipStore.open(paths, DataConfig(cache=str(folder / "cache"))))


@pytest.mark.parametrize(("pooling", "trained"), [("mean", 1), ("statistics", 2), ("attentive", 1)])
@pytest.mark.parametrize("kind", PLAIN)
def test_last_layers_on_kept_frames_in_a_batch_answer_like_the_whole_model_clip_by_clip(tmp_path, store, kind, pooling, trained):
    torch.manual_seed(0)
    settings = ModelConfig(name=str(make_checkpoint(tmp_path / kind, kind)), train_last_layers=trained, pooling=pooling)
    model = build_model(settings, LABELS, 4.0).eval()
    model.head.classifier.weight.data *= 50
    first = model.layer_count - trained
    outputs = outputs_of(model, store, tmp_path / "cache", make_accelerator("fp32"), "clips", lambda: None, first)
    last = LastLayers(model, first).eval()
    alone = torch.cat([logits(model, [store[row].samples]) for row in range(len(store))])
    with torch.no_grad():
        together = last(**last.frontend.collate([last.frontend.prepare(outputs[row]) for row in range(len(store))]))
    spread = (alone - alone.mean(0)).abs().max()
    assert spread > 1e-3
    assert (together - alone).abs().max() < spread * 1e-3
    trained_by_the_model = {id(each) for named in model.parameter_groups().values() for _, each in named}
    assert {id(each) for named in last.parameter_groups().values() for _, each in named} == trained_by_the_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=24, test_clips=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "whisper")


def config_of(folder, data, checkpoint):
    folder.mkdir(exist_ok=True)
    model = {"name": str(checkpoint), "from_scratch": None, "train_last_layers": 1, "mask_time_prob": 0.0}
    return load_config(write_tiny_config(folder / "last.yaml", data, model=model))


def test_a_fold_learns_the_same_from_what_is_kept_as_from_the_clips(data, checkpoint, tmp_path, monkeypatch):
    encoded, compute = [], frozen_outputs.compute_outputs

    def counted(model, store, rows, accelerator, below=None):
        encoded.extend([below] * len(rows))
        return compute(model, store, rows, accelerator, below)

    monkeypatch.setattr(frozen_outputs, "compute_outputs", counted)
    kept = config_of(tmp_path / "kept", data, checkpoint)
    train_fold(open_experiment(kept), 0, Stopper())
    assert [below for below in encoded if below is not None] == [2] * 30, "each clip once, up to the last of three layers"
    train_fold(open_experiment(kept), 1, Stopper())
    assert len(encoded) == 30 + 24, "another fold reads what is there; 24 clips were for the head to start from"

    monkeypatch.setattr(frozen, "why_every_epoch", lambda config, model: "the test says so")
    heard = config_of(tmp_path / "heard", data, checkpoint)
    train_fold(open_experiment(heard), 0, Stopper())
    folds = [tmp_path / name / "outputs" / "last" / "fold_0" for name in ("kept", "heard")]
    for table in ("history.csv", "valid.csv", "test.csv"):
        one, other = (pd.read_csv(folder / table).select_dtypes("number").to_numpy() for folder in folds)
        np.testing.assert_allclose(one, other, atol=2e-4)
    parameters = [json.loads((folder / "metrics.json").read_text())["trained_parameters"] for folder in folds]
    assert parameters[0] == parameters[1]

    answers = tmp_path / "answers.csv"
    predict.main(["--model", str(folds[0]), str(data / "test.csv"), "--data.cache", str(tmp_path / "cache"), "--output", str(answers)])
    columns = [f"p_{name}" for name in LABELS]
    of_the_saved_model, of_the_fold = (pd.read_csv(path)[columns].to_numpy() for path in (answers, folds[0] / "test.csv"))
    np.testing.assert_allclose(of_the_saved_model, of_the_fold, atol=1e-5)


def test_a_fold_stopped_amid_an_epoch_ends_byte_identical(data, checkpoint, tmp_path, monkeypatch):
    own = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    whole, pieces = (config_of(tmp_path / name, data, own) for name in ("whole", "pieces"))
    train_fold(open_experiment(whole), 0, Stopper())
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        steps, forward = [], LastLayers.forward

        def until_the_second_step(self, **batch):
            steps.append(1)
            if len(steps) == 2:
                patch.setattr(Stopper, "reason", "enough")
            return forward(self, **batch)

        patch.setattr(LastLayers, "forward", until_the_second_step)
        train_fold(open_experiment(pieces), 0, Stopper())
    weights = own / "model.safetensors"
    known = weights.read_bytes()
    weights.write_bytes((make_checkpoint(tmp_path / "other", "whisper", seed=1) / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="another state of: the encoder's frozen layers"):
        train_fold(open_experiment(pieces), 0, Stopper())
    weights.write_bytes(known)
    train_fold(open_experiment(pieces), 0, Stopper())
    assert compare(tmp_path / "whole", tmp_path / "pieces") == []


def test_kept_frames_that_are_gone_or_no_numbers_end_in_a_message(data, checkpoint, tmp_path):
    config = config_of(tmp_path / "nan", data, checkpoint)
    run = open_experiment(config)
    train_fold(run, 0, Stopper())
    judged = run.train_store.report["audio_hash"][np.flatnonzero(run.folds == 0)[0]]
    for path in Path(config.data.cache).rglob("encoder-outputs-*/*.safetensors"):
        with safe_open(path, framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        save_file({key: array * (np.nan if judged in key else 1) for key, array in arrays.items()}, path)
    shutil.rmtree(run.folder / "fold_0")
    with pytest.raises(UserError, match="aren't finite in epoch 1"):
        train_fold(open_experiment(config), 0, Stopper())

    model = build_model(config.model, LABELS, 4.0)
    outputs = outputs_of(model, run.train_store, tmp_path / "gone", make_accelerator("fp32"), "clips", lambda: None)
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(UserError, match="computes it again"):
        outputs[0]


@pytest.mark.parametrize(
    ("kind", "section", "settings", "reason"),
    [
        ("whisper", "augment", {"gain": {"p": 1.0}}, "augment changes the clips"),
        ("whisper", "train", {"mixup": 0.4}, "train.mixup changes the clips"),
        ("whisper", "model", {"mask_time_prob": 0.05}, "model.mask_time_prob"),
        ("whisper", "model", {"layer_weights": True}, "model.layer_weights hears all layers"),
        ("wavlm-layer", "model", {}, "this encoder's last layers can't go on"),
        ("whisper", "model", {}, None),
    ],
)
def test_what_makes_the_frozen_layers_run_in_every_epoch_is_named(tmp_path, data, kind, section, settings, reason):
    model = {"name": str(make_checkpoint(tmp_path / kind, kind)), "from_scratch": None, "train_last_layers": 1, "mask_time_prob": 0.0}
    sections = {"model": model} | ({section: settings} if section != "model" else {"model": model | settings})
    config = load_config(write_tiny_config(tmp_path / "last.yaml", data, **sections))
    told = why_every_epoch(config, build_model(config.model, LABELS, 4.0))
    assert (reason is None and told is None) or reason in told
