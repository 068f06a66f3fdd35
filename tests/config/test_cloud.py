"""The task files for rented machines, the script they run, and the packages an image is made of."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CLOUD = ROOT / "configs" / "cloud"
TASK = {"name", "num_nodes", "resources", "envs", "workdir", "file_mounts", "run"}
RESOURCES = {"accelerators", "use_spot", "disk_size", "image_id", "job_recovery"}
RECOVERY = {"max_restarts_on_errors", "recover_on_exit_codes"}
"""Of what SkyPilot 0.14.1's schema allows, which the files were checked against when they were written."""


@pytest.mark.parametrize("path", sorted(CLOUD.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_task_file_says_what_skypilot_knows_and_runs_what_is_here(path):
    task = yaml.safe_load(path.read_text())
    assert set(task) <= TASK and set(task["resources"]) <= RESOURCES and set(task["resources"]["job_recovery"]) <= RECOVERY
    assert re.fullmatch(r"[A-Z0-9]+:\d+", task["resources"]["accelerators"])
    assert task["resources"]["use_spot"] is True and task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
    assert all(isinstance(value, str) for value in task["envs"].values())
    assert (ROOT / task["envs"]["CONFIG"]).is_file()
    assert task["file_mounts"]["/bucket"] == {"source": "${BUCKET}", "mode": "MOUNT_CACHED"}
    command, script, *words = task["run"].split()
    assert (command, words) == ("bash", ["--data.root", "/data"]) and (ROOT / script).is_file()
    for shown in re.findall(r"configs/\S+\.yaml", path.read_text()):
        assert (ROOT / shown).is_file(), shown


PYTHON = r"""#!/bin/sh
# Trains a fold by writing down that it is finished, and is interrupted where that is asked for.
echo "$@" >> "$ASKED"
case "$*" in
*ser.train*--folds*)
    saved=outputs/demo/fold_0/checkpoints/step_2
    [ -z "$INTERRUPTED" ] || { mkdir -p $saved; echo 2 > $saved/state.json; exit 75; }
    folds=$(echo "$*" | sed 's/.*--folds \([0-9,]*\).*/\1/' | tr , ' ')
    for fold in $folds; do
        rm -rf outputs/demo/fold_$fold
        mkdir -p outputs/demo/fold_$fold; echo "$fold" > outputs/demo/fold_$fold/metrics.json
    done ;;
*ser.ensemble*) mkdir -p submissions; ls outputs/demo > submissions/demo.csv ;;
esac
"""


def machine(folder: Path, store: Path, node: int, nodes: int, **environment: str) -> subprocess.CompletedProcess:
    """A fresh machine with the project's scripts and a Python that only writes down what it is asked to do."""
    clone = folder / f"machine-{len(list(folder.glob('machine-*')))}"
    (clone / "bin").mkdir(parents=True)
    (clone / "configs" / "cloud").mkdir(parents=True)
    for name in ("train.sh", "setup_env.sh", "requirements.txt", "pyproject.toml", "configs/demo.yaml", "configs/cloud/train_on_cloud.sh"):
        shutil.copy(ROOT / name, clone / name)
    (clone / "bin" / "python3").write_text(PYTHON)
    (clone / "bin" / "python3").chmod(0o755)
    variables = {
        "PATH": f"{clone}/bin{os.pathsep}{os.environ['PATH']}",
        "HOME": str(clone),
        "SER_ENV": "active",
        "ASKED": str(folder / "asked"),
        "CONFIG": "configs/demo.yaml",
        "STORE": str(store),
        "PUT_SECONDS": "0.2",
        "SKYPILOT_NUM_NODES": str(nodes),
        "SKYPILOT_NODE_RANK": str(node),
        "INTERRUPTED": "",
    }
    command = ["bash", "configs/cloud/train_on_cloud.sh", "--data.root", "/data"]
    return subprocess.run(command, cwd=clone, env=variables | environment, capture_output=True, text=True, check=False, timeout=60)


def asked(folder: Path) -> list[str]:
    return [line for line in (folder / "asked").read_text().splitlines() if "ser.train" in line]


def test_two_machines_share_the_folds_and_the_first_makes_the_submission_of_all(tmp_path):
    store = tmp_path / "store"
    assert machine(tmp_path, store, 1, 2).returncode == 0
    assert asked(tmp_path) == ["-m ser.train --config configs/demo.yaml --folds 1,3 --data.root /data"]
    done = machine(tmp_path, store, 0, 2, SKYPILOT_NUM_GPUS_PER_NODE="2")
    assert done.returncode == 0, done.stderr
    assert asked(tmp_path)[1:] == [
        "-m torch.distributed.run --standalone --nproc_per_node 2 -m ser.train --config configs/demo.yaml --folds 0,2,4 --data.root /data",
        "-m ser.train --config configs/demo.yaml --data.root /data",
    ]
    assert (store / "submissions" / "demo.csv").read_text().split() == [f"fold_{fold}" for fold in range(5)]


def test_a_machine_that_was_taken_away_leaves_its_checkpoint_to_the_next_one(tmp_path):
    store = tmp_path / "store"
    assert machine(tmp_path, store, 0, 1, INTERRUPTED="yes").returncode == 75
    assert (store / "demo/fold_0/checkpoints/step_2/state.json").read_text() == "2\n"
    (store / "demo/fold_0/checkpoints/step_1").mkdir()
    done = machine(tmp_path, store, 0, 1, INTERRUPTED="yes")
    assert done.returncode == 75
    assert (tmp_path / "machine-1/outputs/demo/fold_0/checkpoints/step_2/state.json").exists()
    assert machine(tmp_path, store, 0, 1).returncode == 0
    assert (store / "submissions" / "demo.csv").exists()
    assert list(store.glob("demo/fold_*/checkpoints/*")) == []


def test_the_lock_file_holds_every_pin_of_the_requirements():
    name = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)
    wanted = {match[1].lower(): match[2] for match in name.finditer((ROOT / "requirements.txt").read_text())}
    locked = {match[1].lower(): match[2] for match in name.finditer((ROOT / "requirements.lock").read_text())}
    assert {package: locked.get(package) for package in wanted} == wanted
    assert len(locked) > 3 * len(wanted)


REQUIREMENTS = sorted(path for path in ROOT.glob("requirements*.txt") if "--no-deps" not in path.read_text())


def requirements(path):
    lines = (line.split(" #")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_what_is_locked_is_what_every_requirements_file_wants_of_it():
    locked = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in requirements(ROOT / "requirements.lock")}
    wanted = {(path.name, canonicalize_name(want.name)): want.specifier for path in REQUIREMENTS for want in requirements(path)}
    assert ("requirements-serve.txt", "pillow") in wanted
    assert not {key: (str(want), locked[key[1]]) for key, want in wanted.items() if key[1] in locked and locked[key[1]] not in want}


@pytest.mark.slow
def test_pip_finds_room_for_every_requirements_file_beside_what_is_locked():
    files = [word for path in [ROOT / "requirements.lock", *REQUIREMENTS] for word in ("-r", str(path))]
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", *files]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    if re.search("No matching distribution|Connection|Temporary failure", told.stderr):
        pytest.skip("no package index can be reached")
    assert told.returncode == 0, told.stderr
