"""Tracking in Weights & Biases, as training sees it (each run's name and id); it can neither change, nor delay, nor end a run.

W&B lives in a process of its own (`tracking_process`). The training process only appends JSON lines to a spool file,
outputs/X/wandb/tracking/*.jsonl, which the other one follows: no pipe that could fill up, no thread, no lock. wandb's own service
process doesn't do for that: inside the training process, `run.log` waits without an end for a service that hangs, and of a killed
training its file keeps nothing. The local files (history.csv, metrics.json, ...) are the record; wandb's own go to outputs/X/wandb.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

import yaml

import ser
from ser.config import Config, load_config
from ser.inference.full_fits import is_full_fit
from ser.inference.seed_runs import seed_folders
from ser.runtime.files import read_json, write_json
from ser.runtime.progress import say
from ser.train.tracking_summary import group_of

WAIT_SECONDS = 8.0
SAYS = "W&B: "
"""How a line of the other process's log begins that is for the user."""

_unfinished: list[Tracker] = []
_said: set[str] = set()


def open_tracker(config: Config, run_folder: str | Path, name: str, job_type: str, shown: dict | None = None, **more: Any) -> Tracker:
    """A tracker for a fold (`name` fold_k, `job_type` fold), a whole run (summary) or a submission, grouped by the run folder's name.

    shown: what W&B shows as the config, where that isn't the run's. more: what `tracking_summary` wants to know besides.
    Never raises. It does nothing when tracking is disabled, or when its files can't be written (said once).
    """
    tracker, mode, folder = Tracker(name), _mode(config.tracking.mode), Path(run_folder)
    if mode == "disabled":
        return tracker
    try:
        places = {"fold": folder / name, "summary": folder, "submission": folder / "wandb" / name}
        run_id, session = _next_session(places[job_type])
        tracker.start(
            folder / "wandb" / "tracking" / f"{name}-{run_id}-{session}",
            asdict(config.tracking)
            | {"parent": os.getpid(), "mode": mode, "run_folder": str(folder), "group": group_of(folder), "name": name}
            | {"job_type": job_type, "id": run_id, "session": session, "config": shown or asdict(config)}
            | more,
        )
    except Exception as error:
        _say_once(f"off, its files can't be written ({error}); the local files are the record.")
    return tracker


class Tracker:
    """Hands values over to the process that talks to W&B. No method raises or waits.

    active: False when tracking is off, was given up, or is finished.
    """

    active = False
    process: subprocess.Popen
    spool: FileIO
    log_file: TextIO

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, stem: Path, opening: dict[str, Any]) -> None:
        """Start the other process, which begins with `opening`. Raises OSError."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        self.spool, log = Path(f"{stem}.jsonl").open("wb", buffering=0), Path(f"{stem}.log")  # noqa: SIM115 - as long as the tracker
        self._write(opening)
        # The mode is decided here; left in the environment, it would be decided a second time.
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
        path = filter(None, [str(Path(ser.__file__).parents[1]), environment.get("PYTHONPATH")])
        own = {f"WANDB_{name.upper()}_DIR": str(stem.parents[1].resolve() / name) for name in ("data", "cache")}
        with log.open("wb") as out:
            # Nothing is inherited, stderr least of all: `train.sh | tee log` would wait for the last holder of the pipe.
            # A session of its own: Ctrl-C is for the training.
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "ser.train.tracking_process", self.spool.name],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=own | environment | {"PYTHONPATH": os.pathsep.join(path)},
                start_new_session=True,
            )
        self.log_file = log.open(encoding="utf-8", errors="replace")
        self.active = True
        _unfinished.append(self)

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """Log numbers at a step. After a resume, steps that W&B has already are kept as they are."""
        self._send({"kind": "log", "values": values, "step": step})

    def finish(self, summary: dict[str, Any] | None = None, failed: bool = False) -> None:
        """End the W&B run with its summary values; W&B finishes by itself while the next fold trains."""
        self._send({"kind": "finish", "summary": summary or {}, "failed": failed})
        self.active = False

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.finish(failed=kind is not None)

    def lives(self) -> bool:
        """Pass the messages of the other process on. False when it has ended, with a warning if that was not well."""
        code = self.process.poll()
        for line in self.log_file:
            if line.startswith(SAYS):
                _say_once(line.removeprefix(SAYS).strip())
        if code is not None and self in _unfinished:
            _unfinished.remove(self)
            if code != 0:
                _say_once(f"its process ended early ({code}), {self.name} is tracked no further; the local files are complete.")
        return code is None

    def _send(self, item: dict[str, Any]) -> None:
        if not self.active:
            return
        try:
            self._write(item)
            self.active = self.lives()
        except Exception as error:  # a full disk, a value JSON can't hold: never the run's problem
            _say_once(f"{self.name} is tracked no further ({error}); the local files are complete.")
            self.active = False
            self.process.kill()
            _unfinished.remove(self)

    def _write(self, item: dict[str, Any]) -> None:
        line = json.dumps(item, ensure_ascii=False, default=_plain).encode() + b"\n"
        if self.spool.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def track_run(config: Config, run_folder: str | Path, report: dict) -> None:
    """Log a finished run as the summary of its group. report: what `run_report` returns."""
    with open_tracker(config, run_folder, "summary", "summary") as tracker:
        tracker.finish({key: report.get(key) for key in ("oof", "split", "warnings")})


def track_submission(path: str | Path, run_folders: Sequence[str | Path], summary: dict[str, Any]) -> None:
    """Log a submission that was made of runs beside the first of them that is tracked, without a wait. summary: what the blend is worth."""
    try:
        tracked = (folder for folder in map(Path, run_folders) if (folder / "config.yaml").is_file() and _is_tracked(folder))
        if first := next(tracked, None):
            made_of = [own for folder in run_folders for own in seed_folders(folder) or [folder] if not is_full_fit(own)]
            given = {"submission": str(path), "runs": list(map(str, made_of)), "shown": {"members": _members(run_folders)}}
            tracker = open_tracker(load_config(first / "config.yaml"), first, Path(path).stem, "submission", **given)
            tracker.finish(summary)
            _say_once(f"the submission's record goes with {first}.")
            _unfinished[:] = [other for other in _unfinished if other is not tracker]  # it ends by itself: nobody waits for it
    except Exception as error:
        _say_once(f"the submission is not tracked ({error}).")


def _members(run_folders: Sequence[str | Path]) -> dict[str, dict | None]:
    """The config of each run that went into a submission, as its file has it, by the run's folder."""
    made_of = [own for folder in map(Path, run_folders) for own in seed_folders(folder) or [folder]]
    files = {own: (own.parent if is_full_fit(own) else own) / "config.yaml" for own in made_of}
    return {str(own): yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None for own, file in files.items()}


def _is_tracked(run_folder: Path) -> bool:
    return _mode(load_config(run_folder / "config.yaml").tracking.mode) != "disabled"


def wait_for_trackers(seconds: float = WAIT_SECONDS) -> None:
    """Give W&B's processes this long, all together, to upload the rest; then leave them to end by themselves.

    Called when Python exits. They stop on their own within a minute, with everything kept in outputs/X/wandb.
    """
    start = time.monotonic()
    while (waiting := [tracker for tracker in list(_unfinished) if tracker.lives()]) and time.monotonic() - start < seconds:
        if time.monotonic() - start > 3:
            _say_once(f"finishing, {seconds:.0f} s at most")
        time.sleep(0.05)
    if waiting:
        names = ", ".join(tracker.name for tracker in waiting)
        _say_once(f"{names} not finished after {seconds:.0f} s; it goes on by itself. Wait for it before you sync or copy outputs/.")
        _unfinished.clear()


atexit.register(wait_for_trackers)


def _mode(mode: str) -> str:
    """auto leaves it to WANDB_MODE, and without that to whether there is an API key (which the other process looks up)."""
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):  # as transformers' Trainer reads it
        return "disabled"
    wanted = os.environ.get("WANDB_MODE", "").lower()
    known = {"": mode, "online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
    if wanted not in known:
        _say_once(f"WANDB_MODE: given {wanted}; allowed are online, offline and disabled. It is left out.")
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


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _say_once(message: str) -> None:
    """For all folds together, on stderr, without breaking a progress bar."""
    if message not in _said:
        _said.add(message)
        say(f"{SAYS}{message}", sys.stderr)
