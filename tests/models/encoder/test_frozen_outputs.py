"""A frozen encoder's outputs are computed once per clip, and training on them is training on the clips."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from soak import compare

from checkpoints import LABELS, NAMED, logits, make_checkpoint, waves
from ser import predict
from ser.config import DataConfig, ModelConfig, load_config
from ser.data.clip_cache import file_of
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.models.encoder import frozen_outputs
from ser.models.encoder.frozen_outputs import FrozenHead, cached_outputs, outputs_folder
from ser.models.registry import build_model
from ser.runtime.device import make_accelerator
from ser.runtime.errors import Interrupted
from ser.runtime.files import locked
from ser.train import __main__ as train
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.signals import Stopper
from sounds import write_wav
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

SECONDS = (0.4, 1.3, 0.9, 1.3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    paths = [write_wav(folder / f"{i}.wav", clip) for i, clip in enumerate(waves(*SECONDS))]
    return Store.of_clips(ClipStore.open(paths, DataConfig(cache=str(folder / "cache"))))


@pytest.fixture
def computed(monkeypatch):
    """The lengths of the clips that went through an encoder for the cache."""
    lengths, outputs = [], frozen_outputs.compute_outputs

    def counted(model, store, rows, accelerator, below=None):
        lengths.extend(store.frames[rows].tolist())
        return outputs(model, store, rows, accelerator, below)

    monkeypatch.setattr(frozen_outputs, "compute_outputs", counted)
    return lengths


def model_of(tmp_path, kind, **settings):
    folder = make_checkpoint(tmp_path / kind, kind)
    torch.manual_seed(0)  # a head whose answers differ enough to be compared
    model = build_model(ModelConfig(name=str(folder), freeze="encoder", head_dropout=0.3, **settings), LABELS, 4.0).eval()
    model.head.classifier.weight.data *= 50
    return model


def outputs_of(model, store, cache):
    accelerator = make_accelerator("fp32")
    return cached_outputs(model, store, np.arange(len(store)), outputs_folder(model, cache, accelerator), accelerator)


@pytest.mark.parametrize("layer_weights", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "statistics", "attentive"])
@pytest.mark.parametrize("kind", [*NAMED, "ast"])
def test_head_on_cached_outputs_gives_the_models_own_logits(tmp_path, store, kind, pooling, layer_weights):
    model = model_of(tmp_path, kind, pooling=pooling, layer_weights=layer_weights)
    if layer_weights and pooling != "statistics":  # equal weights would hide a wrong order of the layers
        weights = model.head.layer_weights
        weights.data = torch.linspace(-1, 2, len(weights))
    outputs, head = outputs_of(model, store, tmp_path / "cache"), FrozenHead(model).eval()
    alone = torch.cat([logits(model, [store[row].samples]) for row in range(len(store))])
    batch = head.frontend.collate([head.frontend.prepare(outputs[row]) for row in range(len(store))])
    with torch.no_grad():
        together = head(**batch)
    # Measured by how much clips differ: a random head may answer nearly the same to all. Frames are kept in half precision.
    spread = (alone - alone.mean(0)).abs().max()
    assert spread > 1e-3
    assert (together - alone).abs().max() < spread * (5e-2 if pooling == "attentive" else 1e-3)


def test_dropout_and_training_mode_are_the_models_own(tmp_path, store):
    model = model_of(tmp_path, "wav2vec2-layer")
    head, outputs = FrozenHead(model), outputs_of(model, store, tmp_path / "cache")
    batch = head.frontend.collate([outputs[0], outputs[1]])
    head.train()
    assert not torch.equal(head(**batch), head(**batch))
    head.eval()
    assert torch.equal(head(**batch), head(**batch))
    trained = {id(parameter) for _, parameter in model.parameter_groups()["head"]}
    assert {id(parameter) for _, parameter in head.parameter_groups()["head"]} == trained
    assert head.parameter_groups()["encoder"] == []


def test_outputs_are_computed_once_and_shared_by_content_not_by_name(tmp_path, store, computed):
    model = model_of(tmp_path, "wav2vec2-group")
    outputs_of(model, store, tmp_path / "cache")
    assert sorted(computed) == sorted(round(16_000 * seconds) for seconds in SECONDS)
    outputs_of(model_of(tmp_path, "wav2vec2-group"), store, tmp_path / "cache")
    assert len(computed) == len(SECONDS)

    clips = waves(*SECONDS)
    other = [write_wav(tmp_path / "a.wav", clips[2]), write_wav(tmp_path / "0.wav", waves(0.4, seed=9)[0])]
    renamed = Store.of_clips(ClipStore.open(other, DataConfig(cache=str(tmp_path / "cache"))))
    outputs_of(model, renamed, tmp_path / "cache")
    assert computed[len(SECONDS) :] == [6400], "a known clip under another name is found, another clip under a known name isn't"


def test_where_memory_is_short_for_several_clips_they_go_one_after_the_other(tmp_path, store, monkeypatch):
    """Fault: up to four clips went through the encoder at a time, and a machine with memory for one ended in an error."""
    model, accelerator, rows = model_of(tmp_path, "wav2vec2-layer"), make_accelerator("fp32"), np.arange(len(SECONDS))
    usual = frozen_outputs.compute_outputs(model, store, rows, accelerator)

    def short_of_memory(work, items):
        raise MemoryError

    monkeypatch.setattr("ser.runtime.beside_each_other.beside_each_other", short_of_memory)
    found = frozen_outputs.compute_outputs(model, store, rows, accelerator)
    assert found.keys() == usual.keys()
    assert all((found[name]["outputs"] == usual[name]["outputs"]).all() for name in usual)


def test_processes_that_want_the_same_outputs_share_the_work(tmp_path, store, computed, monkeypatch):
    monkeypatch.setattr(frozen_outputs, "CLIPS_PER_FILE", 1)
    models = [model_of(tmp_path / name, "wav2vec2-layer") for name in "ab"]
    both_at_work = threading.Barrier(2)
    write = frozen_outputs.write_clips

    def after_the_other_has_begun(folder, clips):
        if len(computed) <= 2:
            both_at_work.wait(20)
        write(folder, clips)

    monkeypatch.setattr(frozen_outputs, "write_clips", after_the_other_has_begun)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda model: outputs_of(model, store, tmp_path / "cache"), models)
    assert sorted(computed) == sorted(store.frames.tolist()), "each clip once between them"
    assert all(np.array_equal(one[row], other[row]) for row in range(len(store)))
    assert not list((tmp_path / "cache").rglob("*.lock"))


def test_what_a_killed_process_had_begun_is_computed_by_the_other(tmp_path, store, computed):
    model = model_of(tmp_path, "wav2vec2-layer")
    folder = outputs_folder(model, tmp_path / "cache", make_accelerator("fp32"))
    path = file_of(folder, store.report["audio_hash"])
    with ThreadPoolExecutor(1) as pool, locked(path.with_suffix(".lock")):
        waiting = pool.submit(outputs_of, model, store, tmp_path / "cache")
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        assert computed == [], "another process holds these clips"
    assert sorted(computed) == sorted(store.frames.tolist())


@pytest.mark.parametrize("change", ["weights", "max_seconds", "layer_weights", "pooling"])
def test_anything_the_outputs_depend_on_makes_another_cache(tmp_path, change):
    accelerator = make_accelerator("fp32")
    model = model_of(tmp_path, "wav2vec2-layer")
    before = outputs_folder(model, tmp_path, accelerator)
    if change == "weights":
        next(model.encoder.parameters()).data[0] += 1e-6
        after = model
    elif change == "max_seconds":
        after = build_model(ModelConfig(name=str(tmp_path / "wav2vec2-layer"), freeze="encoder"), LABELS, 3.0)
    else:
        after = model_of(tmp_path, "wav2vec2-layer", **{change: {"layer_weights": True, "pooling": "attentive"}[change]})
    assert outputs_folder(after, tmp_path, accelerator) != before
    assert outputs_folder(model_of(tmp_path, "wav2vec2-layer"), tmp_path, accelerator) == before


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=24, test_clips=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "wav2vec2-layer")


def config_of(folder, data, checkpoint, **sections):
    folder.mkdir(exist_ok=True)
    model = {"name": str(checkpoint), "from_scratch": None, "freeze": "encoder", "layer_weights": True}
    return write_tiny_config(folder / "frozen.yaml", data, model=model, **sections)


def test_a_run_encodes_each_clip_once_and_saves_the_whole_model(data, checkpoint, tmp_path, computed):
    path = config_of(tmp_path, data, checkpoint)
    train.main(["--config", str(path)])
    assert len(computed) == 24 + 6, "two folds of two epochs, and each clip went through the encoder once"
    run = tmp_path / "outputs" / "frozen"
    predict.main(
        ["--model", str(run), str(data / "test.csv"), "--data.cache", str(tmp_path / "cache"), "--output", str(tmp_path / "p.csv")]
    )
    columns = [f"p_{name}" for name in LABELS]
    mean = sum(pd.read_csv(run / f"fold_{fold}" / "test.csv")[columns].to_numpy() for fold in (0, 1)) / 2
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")[columns].to_numpy(), mean, atol=1e-6)
    before = load_file(checkpoint / "model.safetensors")
    after = load_file(run / "fold_0" / "model" / "model.safetensors")
    assert all(torch.equal(after[f"wav2vec2.{name}"], tensor) for name, tensor in before.items())
    assert (after["layer_weights"].softmax(0)[1:] > 0.2).all(), "all layers have a say"


def test_augmentation_keeps_the_encoder_in_the_loop_and_says_so(data, checkpoint, tmp_path, computed, capsys):
    path = config_of(tmp_path, data, checkpoint, augment={"gain": {"p": 1.0}})
    train.main(["--config", str(path), "--folds", "0", "--train.epochs", "1"])
    assert len(computed) == 24, "once, for the head to start from"
    assert "runs in every epoch: augment changes the clips" in capsys.readouterr().out


def test_a_run_stopped_while_encoding_ends_byte_identical(data, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_outputs, "CLIPS_PER_FILE", 10)
    paths = [config_of(tmp_path / name, data, checkpoint) for name in ("whole", "pieces")]
    whole, pieces = map(load_config, paths)
    train_fold(open_experiment(whole), 0, Stopper())
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        calls = []

        def stop_at_the_second_file(stopper):
            calls.append(stopper)
            if len(calls) > 1:
                raise Interrupted("enough")

        patch.setattr(Stopper, "check", stop_at_the_second_file)
        train_fold(open_experiment(pieces), 0, Stopper())
    train_fold(open_experiment(pieces), 0, Stopper())
    assert compare(tmp_path / "whole", tmp_path / "pieces") == []
