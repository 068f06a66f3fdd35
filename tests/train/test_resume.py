"""An interrupted run ends in the same bytes as one that was never interrupted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from soak import EVERYTHING_RANDOM, compare, soak

from checkpoints import make_checkpoint
from ser.config import load_config
from ser.runtime.errors import Interrupted, UserError
from ser.runtime.files import read_json, write_json
from ser.train import checkpoint, lock, training
from ser.train.checkpoint import Checkpoints, checksum
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.lock import only_process
from ser.train.signals import Stopper
from stops import StopAfter, steps_are_counted, train_in_pieces  # noqa: F401 - a fixture
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


def config_of(folder, data, name, **train):
    folder.mkdir(exist_ok=True)
    few = {"epochs": 3, "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    path = write_tiny_config(folder / f"{name}.yaml", data, **EVERYTHING_RANDOM | {"train": EVERYTHING_RANDOM["train"] | few | train})
    return load_config(path)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("whole"), data, "tiny")
    train_fold(open_experiment(config), 0, Stopper())
    return place(config)


def place(config):
    """The folder that holds outputs/tiny."""
    return Path(config.run.output).parents[1]


@pytest.mark.parametrize(("steps", "workers"), [(1, 0), (2, 2)])
def test_interrupted_run_ends_byte_identical(whole, data, tmp_path, steps, workers):
    config = config_of(tmp_path, data, "tiny", workers=workers)
    assert train_in_pieces(config, steps) >= 3
    assert compare(whole, place(config)) == []


def test_adapters_go_on_byte_identical(data, tmp_path):
    folder = make_checkpoint(tmp_path / "base", "whisper")
    model = {"from_scratch": None, "name": str(folder), "lora_rank": 2, "lora_modules": ["q_proj", "fc1"], "freeze": "feature_encoder"}
    for name in ("whole", "pieces"):
        (tmp_path / name).mkdir()
    configs = {
        name: load_config(write_tiny_config(tmp_path / name / "tiny.yaml", data, model=model, train={"epochs": 2, "learning_rate": 1e-2}))
        for name in ("whole", "pieces")
    }
    train_fold(open_experiment(configs["whole"]), 0, Stopper())
    assert train_in_pieces(configs["pieces"], 5) >= 2
    assert compare(place(configs["whole"]), place(configs["pieces"])) == []
    trained, was = (load_file(path / "model.safetensors") for path in (place(configs["whole"]) / "outputs/tiny/fold_0/model", folder))
    same_form = {name: tensor for name, tensor in trained.items() if name in was and tensor.shape == was[name].shape}
    moved = {name.split(".")[-2] for name, tensor in same_form.items() if not torch.equal(tensor, was[name])}
    assert moved == {"q_proj", "fc1"}, "the adapters, merged, and nothing else of the encoder"


@pytest.mark.slow
def test_killed_run_ends_byte_identical(data, tmp_path):
    """The real command, with loader workers; `python tests/soak.py` is the long form, and test_seeds kills it in the quick suite."""
    differences, kills = soak(tmp_path, data, seed=1, kills=3, epochs=2)
    assert differences == []
    assert kills.total() == 3
    assert kills["in a checkpoint"] >= 1
    assert kills["in the clip store"] >= 1


def interrupted(data, folder, stops=(4, 3)):
    """A fold interrupted twice: with two checkpoints behind it, of which the newest is kept."""
    config = config_of(folder, data, "tiny")
    run = open_experiment(config)
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
    assert compare(whole, place(config)) == []


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


@pytest.mark.parametrize("fused", [False, True])
def test_optimizer_state_comes_back_bit_by_bit(tmp_path, fused):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    names = [name for name, _ in model.named_parameters()]
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "names": names}], fused=fused)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, optimizer, {"global_step": 1, "epoch": 1, "best_epoch": 0})
    other = torch.nn.Linear(4, 3)
    again = torch.optim.AdamW([{"params": list(other.parameters()), "names": names}], fused=fused)
    state, messages = checkpoints.restore(other, again)
    assert state["global_step"] == 1
    assert messages == []
    for first, second in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
        assert optimizer.state[first].keys() == again.state[second].keys()
        assert all(torch.equal(optimizer.state[first][key], again.state[second][key]) for key in optimizer.state[first])
    for network, its in ((model, optimizer), (other, again)):
        network.zero_grad()
        network(torch.ones(2, 4)).sum().backward()
        its.step()
    assert torch.equal(model.weight, other.weight)


def test_changed_data_is_refused_and_says_what_changed(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    config, _, _ = interrupted(copy, tmp_path, stops=(1,))
    rows = (copy / "train.csv").read_text().splitlines()
    (copy / "train.csv").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(UserError, match="train: 1 gone"):
        open_experiment(config)
    config.run.start_over = True
    assert len(open_experiment(config).train) == 47


def test_start_over_deletes_no_folder_that_is_not_a_run(data, tmp_path):
    config = config_of(tmp_path, data, "tiny")
    Path(config.run.output).mkdir(parents=True)
    (Path(config.run.output) / "thesis.txt").write_text("years of work")
    config.run.start_over = True
    with pytest.raises(UserError, match="no run"):
        open_experiment(config)


HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from ser.train.lock import only_process
with only_process(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process():
    """Another process that trains a fold, as far as its lock goes."""
    processes = []

    def start(folder):
        environment = os.environ | {"PYTHONPATH": str(Path(lock.__file__).parents[2])}
        processes.append(subprocess.Popen([sys.executable, "-c", HOLD_THE_LOCK, folder], stdout=subprocess.PIPE, env=environment))
        assert processes[-1].stdout.readline() == b"held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_two_processes_cannot_train_one_fold(data, tmp_path, other_process):
    run = open_experiment(config_of(tmp_path, data, "tiny"))
    other = other_process(run.folder / "fold_0")
    with pytest.raises(UserError, match="another process"):
        train_fold(run, 0, Stopper())
    other.kill()
    other.wait()
    with only_process(run.folder / "fold_0"):
        pass


def test_a_run_in_training_is_neither_deleted_nor_given_another_config(data, tmp_path, other_process):
    """Before its first checkpoint nothing but the lock tells that a run has begun."""
    config = config_of(tmp_path, data, "tiny")
    other_process(open_experiment(config).folder / "fold_0")
    config.train.epochs = 7
    with pytest.raises(UserError, match=r"train\.epochs: was 3, now 7"):
        open_experiment(config)
    config.run.start_over = True
    with pytest.raises(UserError, match="another process"):
        open_experiment(config)


def test_the_lock_ends_with_its_process_though_loader_workers_outlive_it(tmp_path):
    with only_process(tmp_path / "fold_0"):
        child = os.fork()
        if child == 0:  # as a loader worker: it inherits the open file
            time.sleep(30)
            os._exit(0)
    try:
        with only_process(tmp_path / "fold_0"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_checkpoint_of_another_config_or_other_data_is_refused(data, tmp_path):
    """Copied by hand: the run's own files don't show it."""
    _, _, folder = interrupted(data, tmp_path, stops=(2,))
    config = config_of(tmp_path / "other", data, "tiny", label_smoothing=0.2)
    run = open_experiment(config)
    shutil.copytree(folder / "checkpoints", run.folder / "fold_0" / "checkpoints")
    with pytest.raises(UserError, match="another state of: config"):
        train_fold(run, 0, Stopper())


@pytest.mark.parametrize("name", ["config.yaml", "data.json"])
@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_begun_run_without_its_own_record_is_refused(data, tmp_path, name, content):
    config, _, folder = interrupted(data, tmp_path, stops=(1,))
    (folder.parent / name).unlink() if content is None else (folder.parent / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}.*start_over"):
        open_experiment(config)


def test_nothing_half_written_is_left_of_a_killed_process(whole, data, tmp_path):
    config, run, folder = interrupted(data, tmp_path, stops=(4,))
    for name in (".model.tmp-7", ".model.old-7", "checkpoints/.step_00000009.tmp-7"):
        (folder / name).mkdir()
        (folder / name / "x").write_text("half")
    for path in (folder / ".valid.tmp-7.csv", folder / "checkpoints" / ".tmpA1b2C3"):
        path.write_text("half")
    train_fold(run, 0, Stopper())
    assert compare(whole, place(config)) == []


def test_checkpoints_of_a_fold_killed_right_after_its_last_write_are_removed(data, tmp_path):
    config, _, folder = interrupted(data, tmp_path, stops=(4,))
    (folder / "metrics.json").write_text("{}")
    training.train(config, [0])
    assert not (folder / "checkpoints").exists()


def test_best_weights_are_copies_and_only_those_of_the_checkpoint_are_on_the_disk(tmp_path):
    model = torch.nn.Linear(2, 2)
    nothing = torch.optim.AdamW([{"params": [], "names": []}])
    checkpoints = Checkpoints(tmp_path)
    kept = {}
    for epoch in (1, 2, 3):
        torch.nn.init.constant_(model.weight, float(epoch))
        checkpoints.keep_best(model, epoch)
        kept[epoch] = model.weight.clone()
        if epoch != 2:
            checkpoints.save(model, nothing, {"global_step": epoch, "epoch": epoch + 1, "best_epoch": epoch})
    assert [path.name for path in checkpoints.folder.glob("best*")] == ["best_0003.safetensors"]
    torch.nn.init.zeros_(model.weight)
    for source in (checkpoints, Checkpoints(tmp_path)):
        source.load_best(model, 3)
        assert torch.equal(model.weight, kept[3])


def test_a_checkpoint_that_cannot_be_read_back_leaves_the_one_before(tmp_path, monkeypatch):
    model = torch.nn.Linear(2, 2)
    nothing = torch.optim.AdamW([{"params": [], "names": []}])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, nothing, {"global_step": 1, "epoch": 1, "best_epoch": 0})
    torch.nn.init.constant_(model.weight, float("nan"))
    checkpoints.save(model, nothing, {"global_step": 2, "epoch": 1, "best_epoch": 0})
    monkeypatch.setattr(checkpoint, "save_file", lambda tensors, path: save_file({name: t + 1 for name, t in tensors.items()}, path))
    torch.nn.init.zeros_(model.weight)
    with pytest.raises(OSError, match="check the disk"):
        checkpoints.save(model, nothing, {"global_step": 3, "epoch": 1, "best_epoch": 0})
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step_00000002_epoch_0001"]


def test_damaged_best_weights_are_noticed(tmp_path):
    model = torch.nn.Linear(2, 2)
    nothing = torch.optim.AdamW([{"params": [], "names": []}])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.keep_best(model, 1)
    checkpoints.save(model, nothing, {"global_step": 1, "epoch": 2, "best_epoch": 1})
    assert Checkpoints(tmp_path).restore(model, nothing)[1] == []
    path = next(checkpoints.folder.glob("best*"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    state, messages = Checkpoints(tmp_path).restore(model, nothing)
    assert state is None
    assert "damaged: the fold begins again" in messages[0]


@pytest.mark.long
def test_time_budget_stops_cleanly_and_goes_on(whole, data, tmp_path):
    config = config_of(tmp_path, data, "tiny")
    with pytest.raises(Interrupted, match="time budget of 1s"):
        train_fold(open_experiment(config), 0, Stopper("1s"))
    train_fold(open_experiment(config), 0, Stopper())
    assert compare(whole, place(config)) == []
