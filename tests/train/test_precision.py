"""What precision a run trains in where nothing is said: bf16 on a processor that computes in it, for a wide encoder that is trained."""

from dataclasses import replace

import pytest
import torch

from checkpoints import make_checkpoint
from ser.config import load_config
from ser.runtime.errors import Interrupted
from ser.runtime.files import read_json
from ser.train import __main__ as train
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.precision import precision_of
from ser.train.signals import Stopper
from stops import StopAfter, steps_are_counted  # noqa: F401 - a fixture
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(make_checkpoint(tmp_path_factory.mktemp("whisper"), "whisper"))


@pytest.fixture
def bf16_processor(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr("ser.train.precision.WIDE", 1)  # small ones are quicker to test with


def config_of(tmp_path, data, encoder, **model):
    settings = {"name": encoder, "from_scratch": None, "freeze": "feature_encoder"} | model
    return load_config(write_tiny_config(tmp_path / "own.yaml", data, model=settings))


def test_a_wide_pretrained_encoder_trains_in_bf16(tmp_path, data, encoder, bf16_processor):
    config = config_of(tmp_path, data, encoder)
    assert config.train.precision == "auto" and precision_of(config) == "bf16"
    for given in ("fp32", "bf16"):
        assert precision_of(replace(config, train=replace(config.train, precision=given))) == given


def test_what_gains_nothing_stays_in_float32(tmp_path, data, encoder, bf16_processor, monkeypatch):
    assert precision_of(config_of(tmp_path, data, encoder, freeze="encoder")) == "auto"
    assert precision_of(load_config(write_tiny_config(tmp_path / "scratch.yaml", data))) == "auto"
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert precision_of(config_of(tmp_path, data, encoder)) == "auto"  # narrow


def test_a_processor_without_bf16_trains_in_float32(tmp_path, data, encoder, bf16_processor, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert precision_of(config_of(tmp_path, data, encoder)) == "auto"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is found")
def test_the_run_says_which_and_trains_in_it(tmp_path, data, encoder, bf16_processor, capsys):
    config_of(tmp_path, data, encoder)
    predicted = {}
    for name, words in {"auto": [], "bf16": ["--train.precision", "bf16"], "fp32": ["--train.precision", "fp32"]}.items():
        output = tmp_path / name
        train.main(["--config", str(tmp_path / "own.yaml"), "--folds", "0", "--train.epochs", "1", "--run.output", str(output), *words])
        assert ("training in fp32" if name == "fp32" else "training in bf16") in capsys.readouterr().out
        predicted[name] = (output / "fold_0" / "valid.csv").read_text()
    assert predicted["auto"] == predicted["bf16"] != predicted["fp32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is found")
def test_a_fold_that_goes_on_in_another_precision_says_so(tmp_path, data, encoder, bf16_processor, monkeypatch, capsys):
    run = open_experiment(config_of(tmp_path, data, encoder))
    with pytest.raises(Interrupted):
        train_fold(run, 0, StopAfter(2))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    train_fold(run, 0, Stopper())
    assert "begun in bf16, it goes on in fp32" in capsys.readouterr().out
    metrics = read_json(run.folder / "fold_0" / "metrics.json")
    assert (metrics["precision"], metrics["precisions"]) == ("fp32", ["bf16", "fp32"])
