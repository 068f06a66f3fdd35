"""The real commands, interrupted by real signals: a checkpoint, a message, an exit code that says so."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ser
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

ROOT = Path(ser.__file__).parents[2]
LONG = {"epochs": 500, "batch_size": 4}
STEP = "outputs/tiny/fold_0/checkpoints/step_*"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


@pytest.fixture
def start(tmp_path):
    """Start a command in a session of its own; what is left of it at the end is killed."""
    started = []

    def start(*command: str | Path) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
        with (tmp_path / "screen.txt").open("w") as screen:
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=screen, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def train(config: Path) -> list[str]:
    return [sys.executable, "-m", "ser.train", "--config", str(config)]


def wait_for(condition, process: subprocess.Popen, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def screen(folder: Path) -> str:
    return (folder / "screen.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_group_ends_with_a_checkpoint_and_code_75(start, data, tmp_path, number):
    """Ctrl-C and a machine that shuts down reach the loader's workers as well."""
    config = write_tiny_config(tmp_path / "tiny.yaml", data, model=TINY_CNN, train=LONG | {"workers": 2})
    process = start(*train(config))
    wait_for(lambda: "epoch   2/500" in screen(tmp_path), process)
    os.killpg(process.pid, number)
    assert process.wait(30) == 75
    said = screen(tmp_path)
    assert f"stopped: {number.name} received" in said
    assert "Traceback" not in said
    assert "run the same command again" in said
    # A worker may be found dead in the middle of an update: then the state is the one of the last checkpoint, here the beginning.
    assert len(list(tmp_path.glob(STEP))) == said.count("saved at epoch")
    assert "saved at epoch" in said or (number == signal.SIGTERM and "from the last checkpoint" in said)


def test_a_signal_while_the_data_is_read_ends_at_once(start, data, tmp_path):
    config = write_tiny_config(tmp_path / "tiny.yaml", data, model=TINY_CNN, train=LONG)
    process = start(*train(config))
    wait_for(lambda: list(tmp_path.glob("cache/clips-*/audio-*")), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert "stopped: SIGTERM received. Run the same command again" in screen(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.glob("cache/clips-*/audio-*")) == 0


@pytest.fixture
def clone(tmp_path, data):
    """What train.sh needs of a clone, with this Python in place of a new .venv."""
    for name in ("train.sh", "setup_env.sh", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    stamp = """
        source ./setup_env.sh
        stamp=.venv/installed-$(printf '%s' requirements.txt | cksum | cut -d' ' -f1)
        cat requirements.txt pyproject.toml | cksum > "$stamp"
        prepare_environment requirements.txt
    """
    said = subprocess.run(["bash", "-c", stamp], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "as installed before" in said, "setup_env.sh has changed: write its stamp here as it does"
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("whole_group", [pytest.param(False, marks=pytest.mark.slow), True])
def test_train_sh_passes_a_signal_on_and_leaves_with_code_75(start, data, clone, whole_group):
    """Ctrl-C reaches the script and Python on two ways at once; that is one request, not two."""
    sections = {"model": TINY_CNN, "train": LONG | {"workers": 2}, "run": {"output": str(clone / "outputs" / "tiny")}}
    write_tiny_config(clone / "tiny.yaml", data, **sections)
    process = start("bash", clone / "train.sh", "tiny.yaml")
    wait_for(lambda: "epoch   1/500" in screen(clone), process)
    os.killpg(process.pid, signal.SIGINT) if whole_group else process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    said = screen(clone)
    assert "saved at epoch" in said
    assert "the same command goes on: bash train.sh tiny.yaml" in said
    assert "ensemble" not in said
    assert len(list(clone.glob(STEP))) == 1
