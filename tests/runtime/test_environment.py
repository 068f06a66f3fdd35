"""What terminals, clusters and launchers bring with them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ser
from ser.config import build_parser, load_config, parse
from ser.models.hub import checkpoint_folder
from ser.models.registry import load_model
from ser.runtime.errors import UserError
from ser.train.tracking import _mode
from ser.transcripts.whisper_folder import whisper_folder

SOURCE = Path(ser.__file__).parents[1]
ROOT = SOURCE.parent
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 378000000\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    variables = os.environ | {"PYTHONPATH": str(SOURCE)} | environment
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=120)


LEFT_OVER = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"}
LEFT_OVER |= {
    "TORCHELASTIC_RUN_ID": "none",
    "LOCAL_WORLD_SIZE": "2",
    "PMI_SIZE": "2",
    "PMI_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "0",
    "SLURM_NTASKS": "2",
}


def test_leftovers_of_a_launcher_are_ignored_with_one_line():
    code = "from ser.runtime.team import join_team; from ser.runtime.device import make_accelerator as m; size = join_team().size"
    done = python(f"{code}; print(size, m('fp32').num_processes, m('fp32').num_processes)", **LEFT_OVER)
    assert done.stdout == "1 1 1\n"
    assert [line for line in done.stderr.splitlines() if "ignored a launcher's environment" in line] == done.stderr.splitlines()[:1]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp949"])
def test_a_terminal_that_cannot_show_a_sign_shows_another(encoding):
    code = "from ser.runtime.errors import run_command; run_command(lambda words: print('predicted 1 → x.csv é'), [])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and b"predicted 1" in done.stdout and done.stderr == b""


def test_ctrl_c_while_libraries_are_imported_is_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n")
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}"}
    # A shell without job control starts what runs in the background deaf to Ctrl-C.
    command = [sys.executable, "-m", "ser.train"]
    process = subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "importing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (130, "stopped: interrupted from the keyboard\n")


@pytest.mark.parametrize("name", ["models/wav2vec2 base", "outputs/내 모델", "klue/로버타", "a/b--c", "owner/name..x", "-a/b"])
def test_a_model_folder_that_is_not_there_is_named_whatever_its_letters(name):
    with pytest.raises(UserError, match="there is no such folder"):
        checkpoint_folder(name)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_text(POINTER)
    for opened in (checkpoint_folder, load_model):
        with pytest.raises(UserError, match=rf"{name} is a git-lfs pointer of {len(POINTER)} bytes: run `git lfs pull`"):
            opened(str(tmp_path))


def test_a_pointer_that_nobody_needs_is_left_alone_and_faster_whispers_weights_are_needed(tmp_path):
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "model.bin"):
        (tmp_path / name).write_text(POINTER if name.endswith(".bin") else "{}")
    assert checkpoint_folder(str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match=r"model\.bin is a git-lfs pointer"):
        whisper_folder(str(tmp_path))


def test_a_home_folder_is_understood_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("data: {root: ~/data, speakers: ~/who.csv}\nrun: {output: ~/runs/x}\n")
    config = load_config(tmp_path / "c.yaml")
    assert (config.data.root, config.data.speakers, config.run.output) == tuple(
        f"{tmp_path}/{name}" for name in ("data", "who.csv", "runs/x")
    )
    config, _ = parse(build_parser("train", ""), ["--data.root=~/mine"])
    assert config.data.root == f"{tmp_path}/mine"


@pytest.mark.parametrize(("value", "mode"), [("true", "disabled"), ("1", "disabled"), ("false", "auto")])
def test_wandb_disabled_is_obeyed(monkeypatch, value, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DISABLED", value)
    assert _mode("auto") == mode


def run_script(folder: Path, *words: str, by: str = "bash", **environment: str) -> subprocess.CompletedProcess:
    """train.sh with a Python that only writes down what it is asked to do."""
    fake = folder / "bin"
    fake.mkdir(exist_ok=True)
    (fake / "python3").write_text('#!/bin/sh\necho "$@" >> "$ASKED"\n')
    (fake / "python3").chmod(0o755)
    variables = {
        "PATH": f"{fake}{os.pathsep}{os.environ['PATH']}",
        "SER_ENV": "active",
        "ASKED": str(folder / "asked"),
        "HOME": str(folder),
    }
    variables |= {"XDG_CACHE_HOME": str(folder)} | environment
    variables = {name: value for name, value in variables.items() if value}
    return subprocess.run(
        [by, str(ROOT / "train.sh"), *words], env=variables, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_train_sh_takes_paths_from_the_folder_it_is_called_in(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.yaml").write_text("{}")
    done = run_script(tmp_path, "configs/demo.yaml", "mine.yaml", "--data.root", "data", "--data.speakers=who.csv", "--model.name", "a/b")
    assert done.returncode == 0, done.stderr
    trained = [line for line in (tmp_path / "asked").read_text().splitlines() if "ser.train" in line]
    given = f"--data.root {tmp_path}/data --data.speakers={tmp_path}/who.csv --model.name a/b"
    assert trained == [f"-m ser.train --config configs/demo.yaml {given}", f"-m ser.train --config {tmp_path}/mine.yaml {given}"]


def test_train_sh_runs_by_any_shell_and_without_a_home(tmp_path):
    assert run_script(tmp_path, "--help", by="sh").stdout.startswith("From a fresh clone")
    elsewhere = ["bash", os.path.relpath(ROOT / "train.sh", tmp_path), "--help"]
    assert subprocess.run(elsewhere, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.startswith("From a fresh clone")
    done = run_script(tmp_path, "configs/demo.yaml", "--data.root", "input", HOME="", by="sh")
    assert done.returncode == 0, done.stderr
    assert "ser.train --config configs/demo.yaml --data.root input" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "none")],
    ids=["none", "count", "policy"],
)
def test_a_command_has_waiting_threads_sleep_unless_the_user_says_how_they_wait(given, expected, monkeypatch):
    """Fault: beside a process that kept one of two cores busy a small network fell to a tenth of its speed."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    began = (
        "import sys; sys.argv = ['-m']; sys.orig_argv = ['python', '-u', '-m', '{}', '--help']; import ser, os; "
        "assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT', 'none'))"
    )
    assert python(began.format("ser.train"), **given).stdout.strip() == expected
    assert python(began.format("mine.ser.train"), **given).stdout.strip() == given.get("GOMP_SPINCOUNT", "none")
