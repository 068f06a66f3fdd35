"""Folds in processes of their own: the same files as one after the other, one stop for all, and a failure that is told."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from ser.config import load_config
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import side_by_side
from ser.train.training import train
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

ALONE = {"model": TINY_CNN, "train": {"epochs": 1, "batch_size": 8, "threads": 1}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=24, test_clips=4)


def config_of(folder, data, processes, **sections):
    folder.mkdir()
    return write_tiny_config(folder / "tiny.yaml", data, **ALONE | sections, run={"processes": processes})


@pytest.mark.long
def test_folds_side_by_side_leave_the_files_of_one_after_the_other(data, tmp_path, capfd):
    configs = [load_config(config_of(tmp_path / f"of_{processes}", data, processes)) for processes in (1, 2)]
    reports = [train(config) for config in configs]
    told = capfd.readouterr().out
    assert "2 folds at a time" in told
    one, two = (tmp_path / f"of_{processes}" / "outputs" / "tiny" for processes in (1, 2))
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.suffix in (".csv", ".safetensors", ".png"))
    names = [name for name in names if name.name != "timing.csv"]
    assert len(names) > 10
    assert [name for name in names if (one / name).read_bytes() != (two / name).read_bytes()] == []
    assert reports[0]["oof"] == reports[1]["oof"]
    assert told.count("out-of-fold: ") == 2, "each run's report is made once, by the command itself"
    assert load_config(two / "config.yaml").run.processes == 2, "not what its processes were told"


@pytest.mark.long
def test_the_last_fold_alone_ends_in_the_bytes_of_the_whole_run(data, tmp_path, monkeypatch, capfd):
    """Fault: the threads of each process followed from the folds still to be trained, and with them the last digits."""
    monkeypatch.setattr(side_by_side, "processors", lambda: 2)
    config = load_config(config_of(tmp_path / "x", data, 2, train=ALONE["train"] | {"threads": None}))
    train(config)
    fold = tmp_path / "x" / "outputs" / "tiny" / "fold_1"
    whole = {name: (fold / name).read_bytes() for name in ("model/model.safetensors", "history.csv")}
    shutil.rmtree(fold)
    train(config)
    assert whole == {name: (fold / name).read_bytes() for name in whole}
    told = capfd.readouterr().out
    assert "2 folds at a time, each in a process of its own with 1 thread\n" in told
    assert "1 fold at a time, each in a process of its own with 1 thread\n" in told


@pytest.mark.long
def test_a_fold_that_fails_ends_the_run_with_its_words(data, tmp_path, monkeypatch):
    config = load_config(config_of(tmp_path / "x", data, 2))
    monkeypatch.setattr(side_by_side, "save_config", lambda _, path: path.write_text("train: {epohcs: 1}"))
    with pytest.raises(UserError, match=r"(?s)fold [01] ended with code \d+; its last words:\n.*train\.epochs"):
        train(config)


def test_each_process_sees_a_gpu_of_its_own_where_there_are_several(monkeypatch):
    assert side_by_side.gpu_of(0) == {}, "there is none here"
    monkeypatch.setattr(side_by_side.torch.cuda, "device_count", lambda: 2)
    assert [side_by_side.gpu_of(place)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert side_by_side.gpu_of(1) == {"CUDA_VISIBLE_DEVICES": "7"}


@pytest.mark.slow
def test_a_signal_stops_all_and_the_same_command_goes_on(data, tmp_path):
    file = config_of(tmp_path / "x", data, 2, train={"epochs": 400, "batch_size": 4, "threads": 1})
    command = [sys.executable, "-u", "-m", "ser.train", "--config", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    begun = set()
    while len(begun) < 2:
        words = process.stdout.readline().split()
        begun |= {words[1]} if words[:1] == ["fold"] else set()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=90) == 75
    run = tmp_path / "x" / "outputs" / "tiny"
    assert len(list(run.glob("fold_*/checkpoints/step_*/state.json"))) == 2
    assert all(read_json(path)["global_step"] > 0 for path in run.glob("fold_*/checkpoints/step_*/state.json"))
