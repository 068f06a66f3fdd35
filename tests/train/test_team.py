"""Several processes train one model: as one process would, and over the end of any of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from soak import EVERYTHING_RANDOM, compare
from torch import distributed

import ser
from ser.runtime.errors import EXIT_INTERRUPTED, run_command
from ser.runtime.files import read_json
from ser.runtime.team import Team, join_team
from ser.train import __main__ as train
from ser.train.state import Progress
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

SOURCE = str(Path(ser.__file__).parents[1])
FORKED = multiprocessing.get_context("fork")
TWO = {"epochs": 2, "learning_rate": 1e-3, "head_learning_rate": 1e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=24, test_clips=6)


def write_config(folder: Path, data: Path, **sections) -> Path:
    folder.mkdir(exist_ok=True)
    parts = EVERYTHING_RANDOM | {"train": EVERYTHING_RANDOM["train"] | TWO, "run": {"checkpoint_steps": 2}}
    parts["run"]["output"] = str(folder / "outputs" / "tiny")
    return write_tiny_config(folder / "tiny.yaml", data, **parts | sections)


def train_as(place: int, size: int, meeting: Path, words: list[str]) -> None:
    """What a launcher's process does; forked, so that nothing is imported again."""
    distributed.init_process_group("gloo", store=distributed.FileStore(str(meeting), size), rank=place, world_size=size)
    run_command(train.main, words)


def started(size: int, folder: Path, config: Path) -> list:
    meeting = folder / f"meeting-{time.monotonic_ns()}"
    words = ["--config", str(config), "--folds", "0"]
    processes = [FORKED.Process(target=train_as, args=(place, size, meeting, words)) for place in range(size)]
    for process in processes:
        process.start()
    return processes


def exit_codes(processes: list) -> list[int | None]:
    for process in processes:
        process.join(timeout=140)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train.main(["--config", str(write_config(folder, data)), "--folds", "0"])
    return folder


@pytest.fixture(scope="module")
def both(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    assert exit_codes(started(2, folder, write_config(folder, data))) == [0, 0]
    return folder


def tables(place: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(place / "outputs" / "tiny" / "fold_0" / name)


def test_two_processes_train_what_one_does(alone, both):
    """Dropout, layer drop, SpecAugment, mixup and augmentation are on; sums in another order are all that differs."""
    pd.testing.assert_frame_equal(tables(alone, "history.csv"), tables(both, "history.csv"), rtol=1e-4)
    for name in ("valid.csv", "test.csv"):
        pd.testing.assert_frame_equal(tables(alone, name), tables(both, name), rtol=1e-3)
    weights = [load_file(place / "outputs/tiny/fold_0/model/model.safetensors") for place in (alone, both)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=2e-5, rtol=1e-3)
    one, two = (read_json(place / "outputs/tiny/fold_0/metrics.json") for place in (alone, both))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["batch_size"] * one["accumulation"] == two["batch_size"] * two["accumulation"] == 8


def test_killed_or_stopped_processes_end_the_others_and_the_last_run_ends_in_the_same_bytes(both, data, tmp_path):
    config, seen = write_config(tmp_path, data), set()
    for told, number in (((1,), signal.SIGKILL), ((0, 1), signal.SIGTERM)):  # a launcher hands a signal on to all
        processes, deadline = started(2, tmp_path, config), time.monotonic() + 60
        while not (found := set(tmp_path.glob("outputs/tiny/fold_0/checkpoints/step_*"))) - seen and time.monotonic() < deadline:
            time.sleep(0.005)
        seen |= found
        for place in told:
            os.kill(processes[place].pid, number)
        assert exit_codes(processes) == [EXIT_INTERRUPTED, -signal.SIGKILL if number == signal.SIGKILL else EXIT_INTERRUPTED]
    assert not (tmp_path / "outputs/tiny/fold_0/metrics.json").exists()
    assert exit_codes(started(2, tmp_path, config)) == [0, 0]
    assert compare(both, tmp_path) == []


@pytest.mark.slow
def test_what_two_began_one_ends(alone, data, tmp_path):
    config = write_config(tmp_path, data)
    processes, deadline = started(2, tmp_path, config), time.monotonic() + 60
    while not list(tmp_path.glob("outputs/tiny/fold_0/checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    processes[0].kill()
    assert exit_codes(processes) == [-signal.SIGKILL, EXIT_INTERRUPTED]
    train.main(["--config", str(config), "--folds", "0"])
    pd.testing.assert_frame_equal(tables(alone, "history.csv"), tables(tmp_path, "history.csv"), rtol=1e-4)


def test_a_launcher_that_was_asked_for_several_and_starts_one_is_told(monkeypatch, capsys):
    for name in ("WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")  # all that accelerate launch --num_processes 2 leaves without a GPU
    assert join_team().size == 1 and capsys.readouterr().out == ""  # left over in a shell, which is no launcher
    monkeypatch.setattr("ser.runtime.team._is_launcher", lambda process: True)
    assert join_team().size == 1 and "started one process, not several" in capsys.readouterr().out
    monkeypatch.delenv("MASTER_PORT")
    assert join_team().size == 1 and capsys.readouterr().out == ""


def test_batches_are_shared_evenly_and_the_step_keeps_its_clips():
    for batch_size, accumulation, processes, shared in (
        (8, 4, 2, (8, 4)),
        (8, 1, 2, (4, 2)),
        (8, 4, 3, (6, 6)),
        (1, 1, 2, (1, 1)),
        (3, 3, 2, (3, 3)),
    ):
        progress = Progress(batch_size, accumulation, 16)
        progress.share_batches(processes)
        assert (progress.batch_size, progress.accumulation) == shared
        assert progress.batch_size * progress.accumulation >= batch_size * accumulation


def sums(place: int, meeting: Path, results) -> None:
    distributed.init_process_group("gloo", store=distributed.FileStore(str(meeting), 2), rank=place, world_size=2)
    team, layers = Team(place, 2), torch.nn.ModuleList(torch.nn.Linear(2, 1) for _ in range(3))
    team.same_weights(layers)
    layers[0](torch.full((1, 2), place + 1.0)).sum().backward()  # both have a gradient
    if place == 1:
        layers[1](torch.ones(1, 2)).sum().backward()  # one has
    team.sum_gradients(layers)
    whole = team.put_together(team.share(torch.arange(5).numpy()), team.share(torch.arange(5).numpy()) * 10, 5)
    gradients = [None if layer.weight.grad is None else layer.weight.grad.flatten().tolist() for layer in layers]
    results.put((gradients, layers[2].weight.tolist(), whole.tolist()))


def test_a_gradient_is_the_sum_over_processes_and_none_where_nobody_has_one(tmp_path):
    results = FORKED.Queue()
    processes = [FORKED.Process(target=sums, args=(place, tmp_path / "meeting", results)) for place in range(2)]
    for process in processes:
        process.start()
    first, second = results.get(timeout=60), results.get(timeout=60)
    assert exit_codes(processes) == [0, 0]
    assert first == second
    assert first[0] == [[3.0, 3.0], [1.0, 1.0], None]
    assert first[2] == [0, 10, 20, 30, 40]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_torchrun_and_accelerate_start_a_team(both, data, tmp_path):
    """The real launchers. Theirs are some seconds of imports for each process, so the quick tests fork."""
    launchers = {
        "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
        "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "29573"],
    }
    for name, words in launchers.items():
        config = write_config(tmp_path / name, data)
        command = [sys.executable, "-m", *words, "-m", "ser.train", "--config", str(config), "--folds", "0", "--run.processes", "3"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800, env=os.environ | {"PYTHONPATH": SOURCE})
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("2 processes train together") == 1 and "ignored a launcher" not in done.stderr
        assert done.stdout.count("run.processes 3 counts for nothing here") == 1
        assert [path for path in compare(both, tmp_path / name) if not path.endswith(".png")] == []  # drawn there, not here
