"""Tracking in Weights & Biases that can neither change, nor delay, nor end a run.

W&B lives in a process of its own (`tracking_process`). The training process only appends JSON lines to a
spool file, outputs/X/wandb/tracking/*.jsonl, which the other one follows: no pipe that could fill up, no
thread, no lock. A hang, a crash or a kill over there costs one line of warning here. The local files
(history.csv, metrics.json, report.json, ...) are the record; wandb's own files go to outputs/X/wandb.
"""

from __future__ import annotations

import atexit
import base64
import errno
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import ser
from ser.audio import SAMPLE_RATE
from ser.config import Config
from ser.runtime.files import read_json, write_json
from ser.runtime.progress import say

WAIT_SECONDS = 8.0
MISTAKES = 12

_unfinished: list[Tracker] = []
_said: set[str] = set()


def open_tracker(config: Config, run_folder: str | Path, name: str, job_type: str) -> Tracker:
    """A tracker for one fold (`name` fold_k, `job_type` fold) or for the whole run (summary), grouped by the run folder's name.

    Never raises. It does nothing when tracking is disabled, or when its files can't be written (said once).
    """
    mode = _mode(config.tracking.mode)
    if mode == "disabled":
        return Tracker(name)
    run_folder = Path(run_folder)
    try:
        run_id, session = _next_session(run_folder / name if job_type == "fold" else run_folder)
        opening = asdict(config.tracking) | {
            "parent": os.getpid(),
            "mode": mode,
            "run_folder": str(run_folder),
            "group": run_folder.resolve().name,
            "name": name,
            "job_type": job_type,
            "id": run_id,
            "session": session,
            "config": asdict(config),
        }
        return Tracker(name, _Follower(run_folder / "wandb" / "tracking" / f"{name}-{run_id}-{session}", opening))
    except Exception as error:
        _say(f"W&B: off, its files can't be written ({error}); the local files are the record.")
        return Tracker(name)


class Tracker:
    """Hands values over to the process that talks to W&B. No method raises or waits.

    active: False when tracking is off, was given up, or is finished.
    """

    def __init__(self, name: str, follower: _Follower | None = None) -> None:
        self.name = name
        self._follower = follower
        self.active = follower is not None
        if follower is not None:
            _unfinished.append(self)

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """Log numbers at a step. After a resume, steps that W&B has already are kept as they are."""
        self._send({"kind": "log", "values": values, "step": step})

    def log_confusion(self, labels: np.ndarray, predictions: np.ndarray, label_names: tuple[str, ...]) -> None:
        """Log a confusion matrix of integer labels and predictions, both (N,)."""
        self._send({"kind": "confusion", "labels": labels, "predictions": predictions, "label_names": label_names})

    def log_mistakes(self, rows: list[dict[str, Any]]) -> None:
        """Log a table of wrong predictions. A float32 array in a row is a wave at 16 kHz and can be played there."""
        self._send({"kind": "mistakes", "rows": [{key: _pack_audio(value) for key, value in row.items()} for row in rows]})

    def finish(self, summary: dict[str, Any] | None = None, failed: bool = False) -> None:
        """End the W&B run with its summary values; W&B finishes by itself while the next fold trains."""
        if self.active:
            self._send({"kind": "finish", "summary": summary or {}, "failed": failed})
            self.active = False

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.finish(failed=kind is not None)

    def _send(self, item: dict[str, Any]) -> None:
        if not self.active:
            return
        try:
            self._follower.write(item)
            self.active = self._check()
        except Exception as error:  # a full disk, a value JSON can't hold: never the run's problem
            _say(f"W&B: {self.name} is tracked no further ({error}); the local files are complete.")
            self.active = False
            self._follower.process.kill()
            _unfinished.remove(self)

    def _check(self) -> bool:
        """Pass the messages of the other process on. False when it has ended, with a warning if that was not well."""
        code = self._follower.process.poll()
        for message in self._follower.new_messages():
            _say(message)
        if code is None:
            return True
        if self in _unfinished:
            _unfinished.remove(self)
            if code != 0:
                _say(f"W&B: its process ended early ({code}), {self.name} is tracked no further; the local files are complete.")
        return False


def track_run(config: Config, run_folder: str | Path, report: dict, wave_of: Callable[[str], np.ndarray] | None = None) -> None:
    """Log a finished run as the summary of its group: scores, confusion matrix, the worst mistakes with their audio.

    report: what `run_report` returns. wave_of: clip id -> float32 (T,) at 16 kHz; without it the table has no audio.
    """
    with open_tracker(config, run_folder, "summary", "summary") as tracker:
        if not tracker.active:
            return
        try:
            from ser.inference.runs import read_run

            run = read_run(run_folder)
            predictions = run.oof.argmax(axis=1)
            tracker.log_confusion(run.labels, predictions, run.label_names)
            tracker.log_mistakes(_mistakes(run.ids, run.labels, run.oof, run.label_names, wave_of))
            tracker.finish({"oof": report["oof"], "split": report["split"], "warnings": report["warnings"]})
        except Exception as error:
            _say(f"W&B: the summary is not tracked ({error}); the local files are complete.")


def wait_for_trackers(seconds: float = WAIT_SECONDS) -> None:
    """Give W&B's processes this long, all together, to upload the rest; then leave them to end by themselves.

    Called when Python exits. They stop on their own within a minute, with everything kept in outputs/X/wandb.
    """
    start, told = time.monotonic(), False
    while (waiting := [tracker for tracker in list(_unfinished) if tracker._check()]) and time.monotonic() - start < seconds:
        if not told and time.monotonic() - start > 3:
            _say(f"W&B: finishing, {seconds:.0f} s at most")
            told = True
        time.sleep(0.05)
    if waiting:
        names = ", ".join(tracker.name for tracker in waiting)
        _say(f"W&B: {names} not finished after {seconds:.0f} s, not waiting any longer; `wandb sync` uploads what is missing.")
        _unfinished.clear()


atexit.register(wait_for_trackers)


class _Follower:
    """The process that follows a spool file, and what it has to say."""

    def __init__(self, stem: Path, opening: dict[str, Any]) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        messages = Path(f"{stem}.messages")
        source = str(Path(ser.__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
        # The mode is decided here; left in the environment, it would be decided a second time.
        environment.pop("WANDB_MODE", None)
        environment = {f"WANDB_{name.upper()}_DIR": str(stem.parents[1].resolve() / name) for name in ("data", "cache")} | environment
        self._spool = Path(f"{stem}.jsonl").open("wb", buffering=0)  # noqa: SIM115 - open as long as the tracker
        self.write(opening)
        with messages.open("wb") as out, Path(f"{stem}.log").open("wb") as log:
            # Nothing is inherited, stderr least of all: `train.sh | tee log` would wait for the last holder of the pipe.
            # A session of its own: Ctrl-C is for the training.
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "ser.train.tracking_process", self._spool.name],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._messages = messages.open(encoding="utf-8", errors="replace")

    def write(self, item: dict[str, Any]) -> None:
        line = json.dumps(item, ensure_ascii=False, default=_plain).encode() + b"\n"
        if self._spool.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def new_messages(self) -> list[str]:
        return [line.strip() for line in self._messages if line.strip()]


def _mode(mode: str) -> str:
    """auto leaves it to WANDB_MODE, and without that to whether there is an API key (which the other process looks up)."""
    wanted = os.environ.get("WANDB_MODE", "").lower()
    known = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
    return known.get(wanted, mode) if mode == "auto" else mode


def _next_session(folder: Path) -> tuple[str, int]:
    """The W&B id of what trains in this folder, kept over interruptions, and how often it has been begun."""
    path = folder / "tracking.json"
    try:
        before = read_json(path)
        run_id, session = str(before["id"]), int(before["session"]) + 1
    except (OSError, ValueError, KeyError, TypeError):
        run_id, session = secrets.token_hex(4), 1
    write_json(path, {"id": run_id, "session": session})
    return run_id, session


def _mistakes(
    ids: tuple[str, ...],
    labels: np.ndarray,
    probabilities: np.ndarray,
    label_names: tuple[str, ...],
    wave_of: Callable[[str], np.ndarray] | None,
) -> list[dict[str, Any]]:
    """The clips where the wrong label was surest, compared with the right one."""
    rows = np.arange(len(labels))
    predictions = probabilities.argmax(axis=1)
    margin = probabilities[rows, predictions] - probabilities[rows, labels]
    worst = [row for row in np.argsort(-margin, kind="stable") if predictions[row] != labels[row]][:MISTAKES]
    return [
        {
            "id": ids[row],
            "label": label_names[labels[row]],
            "predicted": label_names[predictions[row]],
            "p_label": float(probabilities[row, labels[row]]),
            "p_predicted": float(probabilities[row, predictions[row]]),
            "audio": None if wave_of is None else wave_of(ids[row]),
        }
        for row in worst
    ]


def _pack_audio(value: Any) -> Any:
    """A wave as base64 of 16-bit samples; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    samples = (np.clip(value, -1, 1) * 32767).astype("<i2")
    return {"wave": base64.b64encode(samples.tobytes()).decode(), "rate": SAMPLE_RATE}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _say(message: str) -> None:
    """Once for all folds, on stderr, without breaking a progress bar."""
    if message not in _said:
        _said.add(message)
        say(message, file=sys.stderr)
