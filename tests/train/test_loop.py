"""The training loop against hand counts and against itself in other batches."""

import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from ser.config import load_config
from ser.data.batches import PreparedClips
from ser.models.encoder.encoder import EncoderModel
from ser.models.registry import build_model
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import open_experiment
from ser.train.hooks import Hook
from ser.train.loop import Trainer
from ser.train.signals import Stopper
from ser.train.state import FoldData
from tiny import TINY_WAV2VEC2, make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

NO_DROPOUT = TINY_WAV2VEC2 | {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
STILL = {"from_scratch": NO_DROPOUT, "freeze": "none", "head_dropout": 0.0, "mask_time_prob": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


def trained(folder, data, name, argv=(), **sections):
    config = write_tiny_config(folder / f"{name}.yaml", data, **sections)
    train.main(["--config", str(config), "--folds", "0", *argv])
    return folder / "outputs" / name / "fold_0"


def test_accumulated_gradient_equals_one_large_batch(data, tmp_path):
    """Fault 1: gradients thrown away by zero_grad at every micro-batch, and an undivided loss."""
    rates = {"epochs": 1, "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    whole = trained(tmp_path, data, "whole", model=STILL, train=rates | {"batch_size": 8, "accumulation": 1})
    pieces = trained(tmp_path, data, "pieces", model=STILL, train=rates | {"batch_size": 3, "accumulation": 3, "class_weights": "balanced"})
    parts = trained(tmp_path, data, "parts", model=STILL, train=rates | {"batch_size": 2, "accumulation": 4})
    first, second, other = (load_file(folder / "model" / "model.safetensors") for folder in (whole, parts, pieces))
    # 26 clips in steps of 8: the last step of the epoch is smaller, and counts each of its clips as much.
    for name, weights in first.items():
        torch.testing.assert_close(weights, second[name], atol=2e-6, rtol=1e-4)
    assert any(not torch.allclose(weights, other[name], atol=1e-4) for name, weights in first.items())
    losses = [pd.read_csv(folder / "history.csv")["train_loss"][0] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_first_step_is_the_mean_gradient_of_its_clips(data, tmp_path):
    """The gradient the loop leaves, against one computed clip by clip."""
    config = load_config(write_tiny_config(tmp_path / "step.yaml", data, model=STILL, train={"batch_size": 2, "accumulation": 3}))
    run = open_experiment(config)
    rows = np.flatnonzero(run.folds != 0)[:6]
    torch.manual_seed(0)
    model = build_model(config.model, run.label_names, config.data.max_seconds)
    reference = build_model(config.model, run.label_names, config.data.max_seconds)
    reference.load_state_dict(model.state_dict())
    reference.eval()
    losses = []
    for row in rows:
        batch = reference.frontend.collate([reference.frontend.prepare(run.train_store[row])])
        losses.append(torch.nn.functional.cross_entropy(reference(**batch), torch.tensor([run.train.labels[row]])))
    torch.stack(losses).mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), config.train.clip_norm)
    assert norm > 0

    fold = FoldData(run.train_store, run.train.labels, rows, rows, seed=0)
    gradients = {}

    class KeepGradients(Hook):
        def after_epoch(self, trainer, row):
            gradients.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    trainer = Trainer(model, fold, config, Checkpoints(tmp_path, run.fingerprints), Stopper(), (KeepGradients(),), "step")
    trainer.prepared_optimizer.step = lambda: None  # the weights stay, so that the gradients can be compared
    config.train.epochs = 1
    trainer.fit()
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-6, rtol=1e-4)


def test_test_data_cannot_pick_the_epoch_and_validation_is_never_augmented(data, tmp_path):
    """Fault 11: other test clips leave everything but test.csv as it was; strong augmentation leaves no trace in valid.csv."""
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for clip in (other / "test").glob("*.wav"):
        shutil.copy(other / "train" / clip.name.replace("TEST", "TRAIN"), clip)
    strong = {"noise": {"p": 1.0, "min_amplitude": 0.5, "max_amplitude": 0.6}}
    first = trained(tmp_path, data, "first", augment=strong)
    second = trained(tmp_path, other, "second", augment=strong)
    for name in ("valid.csv", "history.csv", "model/model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "test.csv").read_bytes() != (second / "test.csv").read_bytes()
    labels = read_json(first.parent / "data.json")["train"]
    folds = pd.read_csv(first.parent / "folds.csv")
    assert len(pd.read_csv(first / "valid.csv")) == (folds["fold"] == 0).sum() < len(labels)


def test_augmentation_changes_training_and_off_is_really_off(data, tmp_path):
    """Fault 12's counterpart: p = 0 gives the very bytes of a run without the section."""
    plain = trained(tmp_path, data, "plain")
    off = trained(tmp_path, data, "off", augment={"noise": {"p": 0.0}, "pitch_shift": {"p": 0.0}})
    on = trained(tmp_path, data, "on", augment={"noise": {"p": 1.0}})
    assert (plain / "history.csv").read_bytes() == (off / "history.csv").read_bytes()
    assert (plain / "history.csv").read_bytes() != (on / "history.csv").read_bytes()


def test_early_stopping_counts_epochs_without_improvement(data, tmp_path):
    frozen_rates = {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "epochs": 9, "early_stopping": 2}
    folder = trained(tmp_path, data, "stuck", train=frozen_rates)
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2, 3]
    assert read_json(folder / "metrics.json")["epoch"] == 1


def test_the_chance_a_fold_writes_down_is_that_of_its_sampler(data, tmp_path):
    """The balanced one draws every label equally often, so the commonest label of uneven data is no chance there."""
    uneven = tmp_path / "uneven"
    shutil.copytree(data, uneven)
    table = pd.read_csv(uneven / "train.csv")
    table[(table["label"] == 0) | (np.arange(len(table)) % 2 == 0)].to_csv(uneven / "train.csv", index=False)
    fold = trained(tmp_path, uneven, "balanced", train={"epochs": 1, "sampler": "balanced"}, cv={"split": "stratified"})
    folds = pd.read_csv(fold.parent / "folds.csv").merge(table, on="id")
    shares = folds.loc[folds["fold"] != 0, "label"].value_counts(normalize=True)
    assert shares.max() > 0.2
    assert read_json(fold / "metrics.json")["chance"] == pytest.approx(1 / len(shares)) == pytest.approx(1 / 6)


def test_bfloat16_trains_on_this_machine(data, tmp_path):
    folder = trained(tmp_path, data, "bf16", ["--train.precision", "bf16", "--train.epochs", "1"])
    assert np.isfinite(pd.read_csv(folder / "history.csv")["train_loss"]).all()


WAITS = {"item", "tolist", "__float__", "__int__", "__bool__", "__index__", "cpu", "numpy"}


class CountWaits(TorchFunctionMode):
    """Counts what makes Python wait for the device, by the module of the loop that asks for it."""

    def __init__(self):
        super().__init__()
        self.asked = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        where = Path(sys._getframe(1).f_code.co_filename)
        if getattr(function, "__name__", "") in WAITS and where.parent.name == "train" and where.name != "checkpoint.py":
            self.asked[where.name] += 1
        return function(*args, **kwargs or {})


def test_the_device_is_waited_for_once_in_an_optimizer_step(data, tmp_path):
    config = load_config(write_tiny_config(tmp_path / "waits.yaml", data, model=STILL, train={"batch_size": 2, "accumulation": 4}))
    run = open_experiment(config)
    rows = np.arange(len(run.train))
    fold = FoldData(run.train_store, run.train.labels, rows[:20], rows[20:24], seed=0)
    model = build_model(config.model, run.label_names, config.data.max_seconds)
    with CountWaits() as waits:
        progress = Trainer(model, fold, config, Checkpoints(tmp_path, run.fingerprints), Stopper()).fit()
    assert progress.global_step == 2 * 3
    assert waits.asked == {"state.py": 2 * 3}


@pytest.mark.parametrize("checkpoint_steps", [1, None])
def test_a_loss_that_is_not_finite_ends_training_within_a_step_and_is_never_saved(data, tmp_path, monkeypatch, checkpoint_steps):
    forward, passes = EncoderModel.forward, []

    def broken(model, **batch):
        passes.extend([1] * model.training)
        return forward(model, **batch) * (float("nan") if len(passes) == 3 else 1.0)

    monkeypatch.setattr(EncoderModel, "forward", broken)
    config = write_tiny_config(tmp_path / "broken.yaml", data, model=STILL, run={"checkpoint_steps": checkpoint_steps})
    with pytest.raises(UserError, match=r"the loss became nan in epoch 1, step 2\. Try a lower"):
        train.main(["--config", str(config), "--folds", "0"])
    assert len(passes) == (3 if checkpoint_steps else 4)
    saved = list(tmp_path.glob("outputs/broken/fold_0/checkpoints/step_*/*.safetensors"))
    assert bool(saved) == bool(checkpoint_steps)
    assert all(torch.isfinite(tensor).all() for path in saved for tensor in load_file(path).values())


def test_timing_tells_how_long_an_epoch_waited_for_its_clips(data, tmp_path, monkeypatch):
    prepare = PreparedClips.__getitem__

    def late(clips, draw):
        time.sleep(0.02)
        return prepare(clips, draw)

    quick = pd.read_csv(trained(tmp_path, data, "quick", train={"epochs": 1}) / "timing.csv")
    monkeypatch.setattr(PreparedClips, "__getitem__", late)
    waited = pd.read_csv(trained(tmp_path, data, "late", train={"epochs": 1}) / "timing.csv")
    clips = (pd.read_csv(tmp_path / "outputs" / "late" / "folds.csv")["fold"] != 0).sum()
    assert (quick["waiting_seconds"] < quick["train_seconds"]).all()
    assert 0.02 * clips < waited["waiting_seconds"].item() < waited["train_seconds"].item()
