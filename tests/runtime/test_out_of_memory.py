"""Out of memory: the batch that did it is named, or halved, with the effective batch and the results unchanged.

There is no GPU here: the real network raises torch.OutOfMemoryError, as a GPU would, for batches above a limit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from soak import EVERYTHING_RANDOM

from ser import predict
from ser.config import load_config
from ser.inference.prediction import Predictor
from ser.models.encoder.encoder import EncoderModel
from ser.runtime.errors import Interrupted, UserError, is_out_of_memory, run_command
from ser.runtime.files import read_json
from ser.train import __main__ as train
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.signals import Stopper
from tiny import TINY_WAV2VEC2, make_tiny_data, write_tiny_config

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("undrawn")]


class SmallMemory:
    """Lets forward passes of so many clips through; counts the others. `after`: training passes before memory is short; -1: at once."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.train_limit = self.eval_limit = 1000
        self.after = self.passes = self.refused = 0
        self.error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nOf the allocated memory ...")
        forward = EncoderModel.forward

        def limited(model, **batch):
            clips = len(next(iter(batch.values())))
            self.passes += model.training
            if clips > (self.train_limit if model.training else self.eval_limit) and self.passes > self.after:
                self.refused += 1
                raise self.error
            return forward(model, **batch)

        patch.setattr(EncoderModel, "forward", limited)


@pytest.fixture
def memory(monkeypatch):
    return SmallMemory(monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


NO_DROPOUT = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
NOTHING_RANDOM = {"model": {"from_scratch": TINY_WAV2VEC2 | NO_DROPOUT, "mask_time_prob": 0.0, "head_dropout": 0.0}, "train": {}}


def config_of(folder, data, batch_size, accumulation, mode="halve", sections=EVERYTHING_RANDOM):
    folder.mkdir(exist_ok=True)
    few = {"epochs": 2, "batch_size": batch_size, "accumulation": accumulation, "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    sections = sections | {
        "train": sections["train"] | few | {"mixup": 0.0},
        "run": {"on_out_of_memory": mode, "output": str(folder / "outputs" / f"{batch_size}x{accumulation}")},
    }
    return load_config(write_tiny_config(folder / f"{batch_size}x{accumulation}.yaml", data, **sections))


def trained(config, stopper=None):
    """Fold 0 trained: its folder."""
    run = open_experiment(config)
    train_fold(run, 0, stopper or Stopper())
    return run.folder / "fold_0"


def assert_same_network(fold, other):
    """But for rounding. Biases of keys have no effect on attention: their gradient is rounding alone, which AdamW makes large."""
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (fold, other))
    for name in first.keys() - {name for name in first if name.endswith("k_proj.bias")}:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("limit", [pytest.param(4, marks=pytest.mark.slow), 2])
def test_halved_from_the_first_step_equals_small_batches_from_the_start(memory, data, tmp_path, limit, capsys):
    """With dropout, layer drop, SpecAugment and augmentation: their seeds follow from the place in the effective batch."""
    reference = trained(config_of(tmp_path, data, limit, 8 // limit))
    memory.train_limit = limit
    halved = trained(config_of(tmp_path, data, 8, 1))
    for name in ("history.csv", "valid.csv", "test.csv", "model/model.safetensors"):
        assert (halved / name).read_bytes() == (reference / name).read_bytes(), name
    metrics = read_json(halved / "metrics.json")
    assert (metrics["batch_size"], metrics["accumulation"]) == (limit, 8 // limit)
    assert len(metrics["out_of_memory"]) == memory.refused == {4: 1, 2: 2}[limit]
    assert metrics["out_of_memory"][0].startswith("out of memory at train.batch_size 8 with clips of up to ")
    assert f"going on with batch_size {limit}; the effective batch stays 8" in capsys.readouterr().out
    assert read_json(reference / "metrics.json")["out_of_memory"] == []


def test_halved_in_the_middle_gives_the_weights_of_small_batches(memory, data, tmp_path):
    """Also in the middle of an accumulated step, whose first half is thrown away and computed again."""
    reference = trained(config_of(tmp_path, data, 2, 4, sections=NOTHING_RANDOM))
    memory.train_limit, memory.after, memory.passes = 2, 3, 0
    halved = trained(config_of(tmp_path, data, 4, 2, sections=NOTHING_RANDOM))
    assert memory.refused == 1
    assert "step 1)" in read_json(halved / "metrics.json")["out_of_memory"][0]
    assert_same_network(halved, reference)
    pd.testing.assert_frame_equal(pd.read_csv(halved / "history.csv"), pd.read_csv(reference / "history.csv"), rtol=1e-4)


@pytest.mark.slow
def test_a_batch_that_halves_to_unequal_parts_still_has_its_effective_size(memory, data, tmp_path):
    reference = trained(config_of(tmp_path, data, 5, 1, sections=NOTHING_RANDOM))
    memory.train_limit = 3
    halved = trained(config_of(tmp_path / "halved", data, 5, 1, sections=NOTHING_RANDOM))
    assert read_json(halved / "metrics.json")["batch_size"] == 2
    assert_same_network(halved, reference)


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """Fold 0, trained with batches of 4 and enough memory."""
    return trained(config_of(tmp_path_factory.mktemp("plain"), data, 4, 1))


class WhenTold(Stopper):
    """Stops when told."""

    told = False

    @property
    def reason(self):
        return "told" if self.told else None


def test_a_resumed_run_goes_on_with_the_halved_batch(memory, data, tmp_path, monkeypatch):
    memory.train_limit = 4
    whole = trained(config_of(tmp_path / "whole", data, 8, 1))
    refused = memory.refused
    config, stopper = config_of(tmp_path, data, 8, 1), WhenTold()
    run = open_experiment(config)
    forward = EncoderModel.forward

    def stop_soon(model, **batch):
        stopper.told = memory.passes > 3
        return forward(model, **batch)

    memory.passes = 0
    monkeypatch.setattr(EncoderModel, "forward", stop_soon)
    with pytest.raises(Interrupted):
        train_fold(run, 0, stopper)
    monkeypatch.setattr(EncoderModel, "forward", forward)
    assert memory.refused == 2 * refused
    train_fold(run, 0, Stopper())
    assert memory.refused == 2 * refused, "the smaller batch was not remembered"
    for name in ("history.csv", "valid.csv", "test.csv", "metrics.json", "model/model.safetensors"):
        assert (run.folder / "fold_0" / name).read_bytes() == (whole / name).read_bytes(), name


def test_stopping_names_the_batch_the_length_and_what_to_do(memory, data, tmp_path, capsys):
    memory.train_limit = 4
    config_of(tmp_path, data, 8, 2, mode="stop")
    with pytest.raises(SystemExit) as ended:
        run_command(train.main, ["--config", str(tmp_path / "8x2.yaml")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "out of memory at train.batch_size 8 with clips of up to" in said
    assert "epoch 1, step 0" in said
    assert "--run.on_out_of_memory halve goes on" in said
    assert "--train.batch_size 4 --train.accumulation 4" in said
    assert "Traceback" not in said
    train.main(["--config", str(tmp_path / "8x2.yaml"), "--folds", "0", "--run.on_out_of_memory", "halve"])
    assert read_json(tmp_path / "outputs" / "8x2" / "fold_0" / "metrics.json")["batch_size"] == 4


@pytest.mark.parametrize("error", [None, MemoryError("Unable to allocate 1.2 GiB")])  # numpy's, of dropout on a CPU
def test_one_clip_that_does_not_fit_ends_in_a_message(memory, data, tmp_path, error):
    memory.error = error or memory.error
    memory.train_limit = 0
    with pytest.raises(UserError, match=r"(?s)train\.batch_size 1 with clips of up to .*max_seconds"):
        trained(config_of(tmp_path, data, 4, 1))


def test_prediction_in_smaller_batches_gives_the_same_and_is_remembered(plain, memory, data, tmp_path):
    memory.eval_limit = 5
    halved = trained(config_of(tmp_path / "halved", data, 4, 1))
    assert memory.refused == 2  # 16, 8, 4: once, not in every epoch
    metrics = read_json(halved / "metrics.json")
    assert metrics["eval_batch_size"] == 4
    assert metrics["batch_size"] == 4
    assert metrics["out_of_memory"][0].startswith("out of memory when predicting 16 clips of up to")
    for name in ("valid.csv", "test.csv"):
        expected, found = (pd.read_csv(folder / name).iloc[:, 1:].to_numpy() for folder in (plain, halved))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_prediction_stops_with_a_message_where_halving_is_not_allowed(memory, data, tmp_path):
    memory.eval_limit = 5
    with pytest.raises(UserError, match=r"predicting 16 clips of up to [\d.]+ s at once.*train\.eval_batch_size"):
        trained(config_of(tmp_path, data, 4, 1, mode="stop"))


def test_the_predict_command_says_which_batch_was_too_large(plain, memory, data, tmp_path, capsys):
    memory.after, memory.eval_limit = -1, 5
    argv = ["--model", str(plain), str(data / "test.csv"), "--data.cache", str(tmp_path / "cache"), "--batch_size"]
    with pytest.raises(SystemExit) as ended:
        run_command(predict.main, [*argv, "8"])
    assert ended.value.code == 2
    assert "predicting 8 clips" in capsys.readouterr().err
    run_command(predict.main, [*argv, "4"])


def test_clips_in_memory_end_in_the_same_message(plain, memory):
    memory.after, memory.eval_limit = -1, 0
    with pytest.raises(UserError, match=r"predicting 1 clips of up to 0\.5 s at once"):
        Predictor(plain).probabilities([np.zeros(8000, np.int16)])


def test_memory_short_in_the_update_is_not_tried_again_on_half_updated_weights(plain, data, tmp_path, monkeypatch):
    """The groups of an optimizer are updated one after another: the step can't be repeated, but the checkpoint before it can."""
    config = config_of(tmp_path, data, 4, 1)
    config.run.checkpoint_steps = 1
    run, steps, step = open_experiment(config), [], torch.optim.AdamW.step

    def failing(optimizer, *given, **named):
        steps.append(1)
        step(optimizer, *given, **named)
        if len(steps) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    with pytest.raises(UserError, match=r"when updating the weights.*freeze"):
        train_fold(run, 0, Stopper())
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train_fold(run, 0, Stopper())
    assert (run.folder / "fold_0" / "model" / "model.safetensors").read_bytes() == (plain / "model" / "model.safetensors").read_bytes()


def test_a_real_shortage_of_the_machines_memory_is_recognised(capsys):
    def too_much(_):
        torch.empty(2**60, dtype=torch.uint8)

    with pytest.raises(RuntimeError) as raised:
        too_much(None)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("shapes don't match"))
    for shortage in (too_much, lambda _: np.empty(2**60, np.uint8)):
        with pytest.raises(SystemExit) as ended:
            run_command(shortage, [])
        assert ended.value.code == 2
        assert "error: out of memory (" in capsys.readouterr().err
