"""train.average: what is judged, kept and saved is the mean of weights, exactly, also over interruptions."""

from pathlib import Path

import pytest
import torch
from soak import compare

from ser.config import load_config
from ser.models.registry import build_model
from ser.runtime.errors import UserError
from ser.train import __main__ as train
from ser.train.checkpoint import Checkpoints
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.hooks import Hook
from ser.train.loop import Trainer
from ser.train.part import fold_part
from ser.train.signals import Stopper
from ser.train.state import FoldData
from stops import steps_are_counted, train_in_pieces  # noqa: F401 - a fixture
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", 24, 6)


def config_of(folder, data, average, **train):
    folder.mkdir(exist_ok=True)
    steep = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3, "head_learning_rate": 1e-3, "schedule": "constant", "average": average}
    return load_config(write_tiny_config(folder / "tiny.yaml", data, model=TINY_CNN, train=steep | train))


class Snapshots(Hook):
    """The weights after every step and every epoch, and what was judged after every epoch."""

    def __init__(self):
        self.steps, self.epochs, self.judged = [], [], []

    def after_step(self, trainer, clips):
        self.steps.append(copies(trainer.model))

    def after_epoch(self, trainer, row):
        self.epochs.append(copies(trainer.model))
        self.judged.append(copies(trainer.judged))


def copies(model):
    return {name: tensor.detach().double().clone() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def trained(folder, data, average):
    config = config_of(folder, data, average)
    run, seen = open_experiment(config), Snapshots()
    part = fold_part(run, 0)
    torch.manual_seed(0)
    model = build_model(config.model, run.label_names, config.data.max_seconds)
    fold = FoldData(run.train_store, run.train.labels, part.train_rows, part.valid_rows, part.seed)
    progress = Trainer(model, fold, config, Checkpoints(folder, run.fingerprints), Stopper(), (seen,)).fit()
    assert all(torch.equal(value, seen.judged[progress.best_epoch - 1][name]) for name, value in copies(model).items())
    assert any("running_var" in name for name in seen.epochs[0])
    return seen


def is_mean(found, parts):
    return all(torch.allclose(found[name], torch.stack([part[name] for part in parts]).mean(0), atol=1e-6) for name in found)


def test_the_mean_of_the_last_epochs_is_judged_from_the_first_of_them_on(tmp_path, data):
    seen = trained(tmp_path, data, 3)
    assert is_mean(seen.judged[0], seen.epochs[:1])  # no mean yet
    for epoch in (2, 3, 4):
        assert is_mean(seen.judged[epoch - 1], seen.epochs[1:epoch])
    assert not is_mean(seen.judged[3], seen.epochs[3:])


def test_the_exponential_mean_follows_every_step_and_forgets_the_beginning(tmp_path, data):
    seen = trained(tmp_path, data, 0.5)
    mean = seen.steps[0]
    for count, step in enumerate(seen.steps[1:], 1):
        kept = min(0.5, (1 + count) / (10 + count))
        mean = {name: kept * mean[name] + (1 - kept) * step[name] for name in mean}
    assert all(torch.allclose(seen.judged[-1][name], mean[name], atol=1e-6) for name in mean)


@pytest.mark.parametrize("average", [2, 0.9])
def test_an_interrupted_mean_ends_byte_identical(tmp_path, data, average):
    whole, pieces = config_of(tmp_path / "whole", data, average), config_of(tmp_path / "pieces", data, average)
    train_fold(open_experiment(whole), 0, Stopper())
    assert train_in_pieces(pieces, 2) >= 3
    assert compare(tmp_path / "whole", tmp_path / "pieces") == []


def test_what_is_no_average_is_told_and_without_it_nothing_changes(tmp_path, data):
    for wrong in ("0", "1.5", "-1"):
        with pytest.raises(UserError, match=r"--train\.average: "):
            train.main(["--config", "configs/demo.yaml", "--train.average", wrong])
    assert load_config(Path("configs/demo.yaml")).train.average is None
