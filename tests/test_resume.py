"""An interrupted run ends in the same bytes as one that was never interrupted."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ser.config import load_config
from ser.errors import Interrupted, UserError
from ser.files import read_json, write_json
from ser.training import fold as fold_module
from ser.training.checkpoint import Checkpoints, checksum
from ser.training.fold import train_fold
from ser.training.run import open_run
from ser.training.stopping import Stopper
from soak import EVERYTHING_RANDOM, compare, soak
from tiny import make_tiny_data, write_tiny_config


class StopAfter(Stopper):
    """Asks to stop after so many optimizer steps, as a signal would."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    @property
    def reason(self):
        self.left -= 1
        return "enough steps" if self.left < 0 else None


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


def config_of(folder, data, name, workers=0):
    path = write_tiny_config(
        folder / f"{name}.yaml",
        data,
        **EVERYTHING_RANDOM
        | {"train": EVERYTHING_RANDOM["train"] | {"epochs": 3, "workers": workers, "learning_rate": 1e-3, "head_learning_rate": 1e-3}},
    )
    return load_config(path)


def train_in_pieces(config, steps):
    """Train fold 0, interrupted after every so many steps; returns how often."""
    run, times = open_run(config), 0
    while True:
        try:
            train_fold(run, 0, StopAfter(steps))
            return times
        except Interrupted:
            times += 1


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("whole"), data, "tiny")
    train_fold(open_run(config), 0, Stopper())
    return Path(config.run.output)


@pytest.mark.parametrize(("steps", "workers"), [(1, 0), (2, 2)])
def test_interrupted_run_ends_byte_identical(whole, data, tmp_path, steps, workers):
    config = config_of(tmp_path, data, "tiny", workers)
    assert train_in_pieces(config, steps) >= 3
    assert compare(whole, Path(config.run.output)) == []


def test_killed_run_ends_byte_identical(data, tmp_path):
    same, kills = soak(tmp_path, data, seed=1, kills=3)
    assert same
    assert kills == 3


def interrupted(data, folder, stops=(4, 3)):
    """A fold interrupted twice: with two checkpoints behind it, of which the newest is kept."""
    config = config_of(folder, data, "tiny")
    run = open_run(config)
    for steps in stops:
        with pytest.raises(Interrupted, match="run the same command again"):
            train_fold(run, 0, StopAfter(steps))
    return config, run, Path(config.run.output) / "fold_0"


def test_damaged_checkpoint_falls_back_to_the_one_before_with_a_message(whole, data, tmp_path, capsys):
    config, run, folder = interrupted(data, tmp_path, stops=(4,))
    first = next((folder / "checkpoints").glob("step_*"))
    shutil.copytree(first, tmp_path / "kept")
    with pytest.raises(Interrupted):
        train_fold(run, 0, StopAfter(3))
    newest = next((folder / "checkpoints").glob("step_*"))
    shutil.copytree(tmp_path / "kept", first)
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    train_fold(run, 0, Stopper())
    assert "damaged" in capsys.readouterr().out
    assert compare(whole, Path(config.run.output)) == []


def test_only_the_newest_checkpoint_is_kept(data, tmp_path):
    _, _, folder = interrupted(data, tmp_path)
    assert len(list((folder / "checkpoints").glob("step_*"))) == 1


def test_a_checkpoint_without_a_tensor_is_an_error_not_a_partial_load(data, tmp_path):
    _, run, folder = interrupted(data, tmp_path, stops=(4,))
    newest = next((folder / "checkpoints").glob("step_*"))
    tensors = load_file(newest / "model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, newest / "model.safetensors")
    state = read_json(newest / "state.json")
    state["checksums"]["model.safetensors"] = checksum(newest / "model.safetensors")
    write_json(newest / "state.json", state)
    with pytest.raises(UserError, match="start_over"):
        train_fold(run, 0, Stopper())


def test_optimizer_state_comes_back_bit_by_bit(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    names = [name for name, _ in model.named_parameters()]
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "names": names}])
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, optimizer, {"global_step": 1, "best_epoch": 0})
    other = torch.nn.Linear(4, 3)
    again = torch.optim.AdamW([{"params": list(other.parameters()), "names": names}])
    state, messages = checkpoints.restore(other, again)
    assert state["global_step"] == 1
    assert messages == []
    for first, second in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
        assert optimizer.state[first].keys() == again.state[second].keys()
        assert all(torch.equal(optimizer.state[first][key], again.state[second][key]) for key in optimizer.state[first])


def test_changed_data_is_refused_and_says_what_changed(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    config, _, _ = interrupted(copy, tmp_path, stops=(1,))
    rows = (copy / "train.csv").read_text().splitlines()
    (copy / "train.csv").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(UserError, match="train: 1 gone"):
        open_run(config)
    config.run.start_over = True
    assert len(open_run(config).train) == 47


def test_start_over_deletes_no_folder_that_is_not_a_run(data, tmp_path):
    config = config_of(tmp_path, data, "tiny")
    Path(config.run.output).mkdir(parents=True)
    (Path(config.run.output) / "thesis.txt").write_text("years of work")
    config.run.start_over = True
    with pytest.raises(UserError, match="no run"):
        open_run(config)


def test_two_processes_cannot_train_one_fold(data, tmp_path):
    run = open_run(config_of(tmp_path, data, "tiny"))
    with fold_module._only_process(run.folder / "fold_0"), pytest.raises(UserError, match="another process"):
        train_fold(run, 0, Stopper())


def test_time_budget_stops_cleanly_and_goes_on(whole, data, tmp_path):
    config = config_of(tmp_path, data, "tiny")
    with pytest.raises(Interrupted, match="time budget of 1s"):
        train_fold(open_run(config), 0, Stopper("1s"))
    train_fold(open_run(config), 0, Stopper())
    assert compare(whole, Path(config.run.output)) == []
