"""Folds as tasks of a Ray cluster: the same files as without, also when a worker or a machine is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from ser.config import load_config
from ser.runtime.errors import UserError
from ser.train import on_ray
from ser.train.training import train
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

EPOCHS = 30


def test_without_ray_the_file_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"requirements-ray\.txt"):
        on_ray._joined()


def test_without_ray_no_data_is_read_first(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = load_config(write_tiny_config(tmp_path / "tiny.yaml", tmp_path / "no data here", run={"launcher": "ray"}))
    with pytest.raises(UserError, match=r"requirements-ray\.txt"):
        train(config)


def test_an_address_where_nobody_answers_is_told_at_once(monkeypatch):
    pytest.importorskip("ray", reason="pip install -r requirements-ray.txt")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(UserError, match=r"(?s)RAY_ADDRESS: given '127\.0\.0\.1:\d+'; no cluster answers"):
            on_ray._joined()


def test_a_folder_that_a_machine_does_not_see_is_told(tmp_path):
    with pytest.raises(UserError, match=r"nowhere isn't on every machine"):
        on_ray.train_there("", 0, str(tmp_path / "nowhere"), "outputs", "", "0", True)


@pytest.mark.parametrize("head", [{}, {"CPU": 0}])
def test_a_head_without_processors_takes_none_from_the_folds(head):
    nodes = [{"Alive": True, "Resources": has} for has in (head, {"CPU": 32.0}, {"CPU": 32.0})]
    assert on_ray._needs(SimpleNamespace(nodes=lambda: nodes), 4) == ({"num_cpus": 16}, 16)


@pytest.fixture
def cluster():
    """Two machines of one processor each, as Ray sees them."""
    pytest.importorskip("ray", reason="pip install -r requirements-ray.txt")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.second = cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_without_an_address_no_cluster_that_runs_here_is_joined(cluster):
    """Fault: a run became part of somebody else's cluster on the machine, and ended with it."""
    nodes = "from ser.train.on_ray import _joined; print('nodes', len(_joined().nodes()))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for address, expected in (("", 1), (cluster.address, 2)):
        joined = [sys.executable, "-c", nodes]
        done = subprocess.run(joined, env=environment | {"RAY_ADDRESS": address}, capture_output=True, text=True, check=True)
        assert f"nodes {expected}" in done.stdout


def begun(run, fold):
    return any(run.glob(f"fold_{fold}/checkpoints/step_*"))


def wait_for(condition, process):
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["worker", "machine"])
def test_a_fold_whose_worker_or_machine_is_lost_goes_on_elsewhere_to_the_same_bytes(cluster, tmp_path, what):
    data = make_tiny_data(tmp_path / "demo", clips=24, test_clips=4)
    sections = {"model": TINY_CNN, "train": {"epochs": EPOCHS, "batch_size": 4, "threads": 1}, "cv": {"n": 2, "full_fit": True}}
    runs = {}
    for name in ("alone", "cluster"):
        (tmp_path / name).mkdir()
        runs[name] = write_tiny_config(tmp_path / name / "tiny.yaml", data, **sections, run={"checkpoint_steps": 5})
    train(load_config(runs["alone"]))
    command = [sys.executable, "-u", "-m", "ser.train", "--config", str(runs["cluster"]), "--launcher", "ray"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_ADDRESS": cluster.address}
    with (tmp_path / "screen.txt").open("w") as screen:
        process = subprocess.Popen(command, stdout=screen, stderr=subprocess.STDOUT, env=environment)
    run = tmp_path / "cluster" / "outputs" / "tiny"
    wait_for(lambda: begun(run, 0) and begun(run, 1), process)
    if what == "machine":
        cluster.remove_node(cluster.second, allow_graceful=False)
    else:
        os.kill(next(one.pid for one in psutil.process_iter() if "train_there" in " ".join(one.cmdline())), signal.SIGKILL)
    said = (tmp_path / "screen.txt").read_text
    assert process.wait(400) == 0, said()
    assert "made " in said()
    assert "going on from epoch" in said(), "nothing was resumed"
    assert_same_files(tmp_path / "alone" / "outputs" / "tiny", run, at_least=11)


@pytest.mark.slow
def test_the_folds_of_all_seeds_are_tasks_at_the_same_time(cluster, tmp_path):
    data = make_tiny_data(tmp_path / "demo", clips=24, test_clips=4)
    sections = {"model": TINY_CNN, "train": {"epochs": 2, "batch_size": 4, "threads": 1}, "cv": {"n": 2, "full_fit": True}}
    runs = {}
    for name in ("alone", "cluster"):
        (tmp_path / name).mkdir()
        runs[name] = write_tiny_config(tmp_path / name / "tiny.yaml", data, **sections, run={"seeds": [0, 1]})
    train(load_config(runs["alone"]))
    command = [sys.executable, "-u", "-m", "ser.train", "--config", str(runs["cluster"]), "--launcher", "ray", "--run.start_over", "true"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_ADDRESS": cluster.address}
    made = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True, env=environment)
    for seed in (0, 1):
        for fold in (0, 1):
            assert f"seed_{seed} fold {fold}" in made.stdout, "whose fold it is"
    last = max(map(made.stdout.rindex, ("seed_0 fold", "seed_1 fold")))
    assert last < made.stdout.index("out-of-fold: "), "no fold waited for the end of another seed"
    assert_same_files(tmp_path / "alone" / "outputs" / "tiny", tmp_path / "cluster" / "outputs" / "tiny", at_least=20)


def assert_same_files(alone, run, at_least):
    names = [path.relative_to(alone) for path in alone.rglob("*") if path.suffix in (".csv", ".safetensors") and path.name != "timing.csv"]
    assert len(names) >= at_least
    assert [name for name in names if (alone / name).read_bytes() != (run / name).read_bytes()] == []
