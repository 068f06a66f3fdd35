"""Folds as tasks of a Ray cluster: a GPU each where it has GPUs, and one that loses its worker goes on elsewhere from its checkpoint.

    RAY_ADDRESS=10.0.0.1:6379 python -m ser.train --config FILE --launcher ray

Without RAY_ADDRESS a cluster of this machine alone is started. Every machine has to see the repository, the data and `run.output` under the
same paths (a shared disk).
"""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from ser.config.parsing import as_plain, save_config
from ser.runtime.errors import EXIT_INTERRUPTED, UserError
from ser.runtime.progress import say
from ser.train.experiment import Experiment
from ser.train.lock import wait_until_free
from ser.train.side_by_side import DEVICE, LAST_WORDS, POLL_SECONDS, as_trained_alone, process_command, process_environment, tell_end
from ser.train.signals import Stopper

RETRIES = 5
"""So often a fold begins again, from its last checkpoint, when its worker or machine is lost."""
TO_ANSWER = 5.0
"""Seconds that a cluster has to answer."""
TO_STOP = 600.0
"""Seconds in which all that run write their checkpoints when the command is stopped: a large network on a slow disk takes minutes."""


class StoppedThere(Exception):
    """A fold was stopped where it ran (its machine was taken away), and not by us."""


def import_ray() -> ModuleType:
    """Ray, which isn't among what every user installs."""
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError("--launcher ray wants Ray: pip install -r requirements-ray.txt") from None


def train_on_ray(parts: Sequence[tuple[Experiment, int | None]], stopper: Stopper) -> None:
    """Train these folds (None: the model of all clips) of these runs, as many at a time as the cluster has room for; tell each when it is
    finished.

    Raises Interrupted when the stopper says so (every fold writes its checkpoint first), UserError with its last words when one failed.
    """
    ray = _joined()
    try:
        needs, threads = _needs(ray, len(parts))
        say(f"{_cluster(ray)}; a fold takes {threads} CPU(s)" + (" and a GPU" if "num_gpus" in needs else ""))
        start = ray.remote(max_retries=RETRIES, retry_exceptions=[StoppedThere], **needs)(train_there)
        runs = {run.folder: run for run, _ in parts}
        began = os.environ.get("SER_STARTED", str(time.time()))  # a time budget counts from here
        running = {}
        for run, fold in parts:
            told_as = f"{run.folder.name} " if len(runs) > 1 else ""
            config = yaml.safe_dump(as_plain(as_trained_alone(run, threads)), sort_keys=False, allow_unicode=True)
            where = str(Path.cwd()), str(run.folder)
            running[start.remote(config, fold, *where, told_as, began, run.config.run.time_budget is None)] = run, fold, told_as
        try:
            while running:
                stopper.check()
                for ended in ray.wait(list(running), timeout=POLL_SECONDS)[0]:
                    run, fold, told_as = running.pop(ended)
                    tell_end(run, fold, *_outcome(ray, ended), told_as)
        finally:
            for one in running:
                ray.cancel(one)
            if running:
                with stopper.unhurried():
                    ray.wait(list(running), num_returns=len(running), timeout=TO_STOP)
            for run in runs.values():
                save_config(run.config, run.folder / "config.yaml")  # each process wrote its own way to train there
    finally:
        ray.shutdown()


def train_there(config: str, fold: int | None, folder: str, run_folder: str, told_as: str, began: str, again: bool) -> tuple[int, str]:
    """In a worker: train one fold in a process of its own; its exit code and last words.

    config: the experiment as YAML; folder: to work in; run_folder: of the run, as seen from there; told_as: what its lines begin with;
    began: when, in seconds since 1970; again: whether a fold that was stopped goes on elsewhere. Raises StoppedThere then.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder} isn't on every machine of the cluster. Put repository, data and outputs on a disk that all of them see.")
    wait_until_free(Path(folder) / run_folder / _name(fold))  # the process of a lost worker is still writing its checkpoint
    words = deque(maxlen=LAST_WORDS)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "config.yaml"
        file.write_text(config, encoding="utf-8")
        environment = process_environment() | {"SER_STARTED": began}
        process = subprocess.Popen(**process_command(file, fold), cwd=folder, env=environment)
        try:
            for line in process.stdout:
                words.append(line)
                if line.startswith((DEVICE, "fold ", "full fit", "the one model")):  # the rest is what all processes say alike
                    print(f"{told_as}{line.rstrip()}", flush=True)
        finally:
            process.terminate()
            code = process.wait()
    if code == EXIT_INTERRUPTED and again:
        raise StoppedThere(_name(fold))
    return code, "".join(words)


def _name(fold: int | None) -> str:
    return "full_fit" if fold is None else f"fold_{fold}"


def _joined() -> ModuleType:
    """Ray, as part of the cluster that RAY_ADDRESS names or of one of this machine alone."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # folds say alike what they do, and each is meant to be heard
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    ray = import_ray()
    source = str(Path(__file__).parents[2])
    paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        if match := re.fullmatch(r"(?:ray://)?\[?(.+?)]?:(\d+)", address):  # Ray itself looks for minutes
            socket.create_connection((match[1], int(match[2])), TO_ANSWER).close()
        ray.init(None if address else "local", logging_level="warning", runtime_env={"env_vars": {"PYTHONPATH": paths}})
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise UserError(
            f"RAY_ADDRESS: given {address!r}; no cluster answers there ({error}). Start one by `ray start --head`, which tells its "
            "address, or leave RAY_ADDRESS empty for this machine alone."
        ) from None
    return ray


def _needs(ray: ModuleType, folds: int) -> tuple[dict[str, int], int]:
    """What of a machine a fold takes, as Ray counts it, and its threads."""
    # A head is often started without a processor, to run nothing.
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    gpus = sum(machine.get("GPU", 0) for machine in machines)
    if gpus:
        threads = min(max(1, int(machine["CPU"] // machine["GPU"])) for machine in machines if machine.get("GPU"))
        return {"num_cpus": threads, "num_gpus": 1}, threads
    share = sum(machine["CPU"] for machine in machines) // folds
    threads = int(max(1, min([share, *(machine["CPU"] for machine in machines)])))
    return {"num_cpus": threads}, threads


def _cluster(ray: ModuleType) -> str:
    has = ray.cluster_resources()
    count = sum(machine["Alive"] for machine in ray.nodes())
    return f"a cluster of {count} machine(s) with {has.get('CPU', 0):g} CPU(s) and {has.get('GPU', 0):g} GPU(s)"


def _outcome(ray: ModuleType, task: Any) -> tuple[int, str]:
    """A task's exit code and last words."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        if isinstance(error.cause, StoppedThere):
            return EXIT_INTERRUPTED, ""
        raise
    except ray.exceptions.RayError as error:  # the worker was lost once too often
        return 1, f"{type(error).__name__}: {error}\n"
