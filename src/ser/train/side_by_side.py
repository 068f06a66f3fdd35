"""Folds trained side by side, each in a process of its own: of a small network a second thread makes next to nothing faster."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import ser
from ser.config import Config
from ser.config.parsing import load_config, save_config
from ser.models.registry import model_class
from ser.report.fold_report import fold_report
from ser.runtime.device import device_told
from ser.runtime.errors import EXIT_INTERRUPTED, Interrupted, UserError, run_command
from ser.runtime.processors import processors
from ser.runtime.progress import say
from ser.train.experiment import Experiment, open_experiment
from ser.train.fold import train_part
from ser.train.part import fold_part, full_part
from ser.train.precision import precision_of
from ser.train.signals import Stopper

POLL_SECONDS = 0.2
LAST_WORDS = 15
DEVICE = "training in "
"""What the line begins with that tells device and precision."""
_LIBC = ctypes.CDLL(None)


@dataclass
class _Training:
    fold: int
    place: int
    """Which of the processes at a time it is: it has the GPU of this number, where there are several."""
    process: subprocess.Popen
    words: deque[str]


def train_side_by_side(run: Experiment, folds: Sequence[int], stopper: Stopper) -> None:
    """Train these folds, `run.processes` at a time, and tell each when it is finished.

    Raises Interrupted when the stopper says so (every process writes its checkpoint first), UserError with its last words when a process
    failed.
    """
    waiting, running, told, said = list(folds), [], queue.SimpleQueue(), set()
    at_once = min(run.config.run.processes, len(waiting))
    threads = threads_of_each(run.config)
    say(f"{at_once} fold{'s' * (at_once > 1)} at a time, each in a process of its own with {threads} thread{'s' * (threads > 1)}")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "config.yaml"
        save_config(as_trained_alone(run, threads), file)
        try:
            while waiting or running:
                stopper.check()
                while waiting and len(running) < at_once:
                    place_of_its_own = min(set(range(at_once)) - {training.place for training in running})
                    running.append(_begin(waiting.pop(0), place_of_its_own, file, told))
                _pass_on(told, said)
                for training in [training for training in running if training.process.poll() is not None]:
                    running.remove(training)
                    _pass_on(told, said)
                    tell_end(run, training.fold, training.process.returncode, "".join(training.words))
        finally:
            with stopper.unhurried():
                _stop([training.process for training in running])
            _pass_on(told, said)
            save_config(run.config, run.folder / "config.yaml")  # each process wrote its own way to train there


def threads_of_each(config: Config) -> int:
    """Threads of a fold, however many folds are still to be trained: with another number of them sums end in other digits."""
    return config.train.threads or max(1, processors() // min(config.run.processes, config.cv.n))


def as_trained_alone(run: Experiment, threads: int) -> Config:
    """What the process of one fold is told: the experiment, and so many threads."""
    alone = replace(run.config.run, processes=1, launcher="here", start_over=False, seeds=[])
    return replace(run.config, run=alone, train=replace(run.config.train, threads=threads))


def process_command(config: Path, fold: int | None) -> dict:
    """How the process of one fold (None: of the model of all clips) is started: arguments of Popen, but for its surroundings."""
    words = [sys.executable, "-m", "ser.train.side_by_side", str(config), "full_fit" if fold is None else str(fold)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return {"args": words, "preexec_fn": _end_with_parent} | pipes


def process_environment() -> dict[str, str]:
    """The surroundings of such a process: this one's, and where the code is."""
    paths = [str(Path(ser.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def gpu_of(place: int) -> dict[str, str]:
    """What the environment of a process has to say so that each sees one GPU; nothing where there are fewer than two."""
    if torch.cuda.device_count() < 2:
        return {}
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    every = named or list(map(str, range(torch.cuda.device_count())))
    return {"CUDA_VISIBLE_DEVICES": every[place % len(every)]}


def _begin(fold: int, place: int, config: Path, told: queue.SimpleQueue) -> _Training:
    began = {"SER_STARTED": os.environ.get("SER_STARTED", str(time.time()))}  # a time budget counts from here
    process = subprocess.Popen(**process_command(config, fold), env=process_environment() | gpu_of(place) | began)
    training = _Training(fold, place, process, deque(maxlen=LAST_WORDS))
    threading.Thread(target=_listen, args=(training, told), daemon=True).start()
    return training


def _end_with_parent() -> None:
    """A process whose parent is killed gets SIGTERM, and with that writes its checkpoint (Linux; elsewhere it trains on)."""
    with suppress(AttributeError):
        _LIBC.prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def _listen(training: _Training, told: queue.SimpleQueue) -> None:
    for line in training.process.stdout:
        training.words.append(line)
        if line.startswith((DEVICE, f"fold {training.fold} ")):  # the rest is what all processes say alike
            told.put(line.rstrip())


def _pass_on(told: queue.SimpleQueue, said: set[str]) -> None:
    """Tell what was heard since the last time, for as long as it takes to look again. said: what all folds say alike, told once."""
    until = time.monotonic() + POLL_SECONDS
    while (left := until - time.monotonic()) > 0:
        with suppress(queue.Empty):
            line = told.get(timeout=left)
            if line not in said:
                say(line)
                sys.stdout.flush()
            if line.startswith(DEVICE):
                said.add(line)


def tell_end(run: Experiment, fold: int | None, code: int, words: str, told_as: str = "") -> None:
    """After a fold's process has ended: its report, behind told_as, or why there is none. The model of all clips has no report."""
    title = "full fit" if fold is None else f"fold {fold}"
    if code == EXIT_INTERRUPTED:
        raise Interrupted(f"{title} was stopped. Run the same command again to go on.")
    if code:
        raise UserError(f"{title} ended with code {code}; its last words:\n{words}".rstrip())
    if fold is not None:
        say(f"{told_as}{fold_report(run.folder / f'fold_{fold}')}")


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """Ask them to write a checkpoint and leave, and wait until they have: each ends by itself."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def _train_one(words: Sequence[str]) -> None:
    """What each process does: config file and fold (or full_fit) -> that model, and nothing of the run's report."""
    config = load_config(words[0])
    torch.set_num_threads(config.train.threads)
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    with Stopper(config.run.time_budget) as stopper:
        with stopper.at_once():
            run = open_experiment(config)
        if model_class(config.model.kind).by_epochs:
            say(device_told(precision_of(config)))
        part = full_part(run) if words[1] == "full_fit" else fold_part(run, int(words[1]))
        train_part(run, part, stopper)


if __name__ == "__main__":
    run_command(_train_one)
