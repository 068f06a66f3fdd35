"""The process that owns W&B: online or offline, how long an upload may take; it follows a spool file of JSON lines and passes them on.

Started by `tracking`, as `python -m ser.train.tracking_process FILE.jsonl`. The first line says what to open. It ends at
the `finish` line, or when the training process is gone, and in any case a minute after that. What it prints goes to a log, of
which lines that begin with "W&B: " are shown to the user.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

INIT_SECONDS = 5.0
UPLOAD_SECONDS = 30.0
END_SECONDS = 60.0
MODEL_SECONDS = 3600.0
"""Instead of both, where models are uploaded."""
POLL_SECONDS = 0.3


def main(spool: Path) -> None:
    """Follow the spool file to its end and end the process, whatever W&B's own exit hooks would still wait for."""
    os.nice(5)  # training comes first
    code = 1
    try:
        items = _follow(spool)
        opening = next(items)
        seconds = MODEL_SECONDS if opening["models"] else END_SECONDS
        threading.Thread(target=_end_in_time, args=(opening["parent"], seconds), daemon=True).start()
        _pass_on(items, opening)
        spool.unlink(missing_ok=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def _end_in_time(parent: int, seconds: float) -> None:
    """See to it that this process ends soon after the training, even if W&B hangs."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    time.sleep(seconds)
    os._exit(1)


def _follow(spool: Path) -> Iterator[dict[str, Any]]:
    """The items of the spool file as they are written; a `finish` of its own when the training process is gone."""
    parent, text, item = None, "", {}
    with spool.open(encoding="utf-8") as file:
        while item.get("kind") != "finish":
            gone = parent is not None and os.getppid() != parent  # asked before reading, so that the last lines are seen
            text += file.read()
            *whole, text = text.split("\n")
            for item in map(json.loads, whole):
                parent = item.get("parent", parent)
                yield item
            if gone and item.get("kind") != "finish":
                yield (item := {"kind": "finish", "summary": {}, "failed": True})
            elif not whole:
                time.sleep(POLL_SECONDS)


def _pass_on(items: Iterator[dict[str, Any]], opening: dict[str, Any]) -> None:
    """Everything up to the finish, into a W&B run."""
    import wandb

    from ser.train.tracking_summary import add_files

    run = _open_run(opening)
    for item in items:
        if item["kind"] == "log":
            _try(opening["name"], "numbers", lambda item=item: run.log(item["values"], step=item["step"]))
            continue
        run.summary.update(item["summary"])
        if not item["failed"]:
            _try(opening["name"], "tables and files", lambda: add_files(run, opening))
        run.finish(exit_code=int(item["failed"]))
    wandb.teardown()  # waits for W&B's own process, which writes the run: ended without it, it lost the whole record of one


def _try(name: str, what: str, log: Callable[[], None]) -> None:
    try:
        log()
    except Exception:
        traceback.print_exc()
        _say(f"{name} goes on without some of its {what}; see outputs/*/wandb/tracking/*.log")


def _open_run(opening: dict[str, Any]) -> Any:
    """Online under the id kept in tracking.json; otherwise offline, as a run of its own in the same group."""
    import wandb

    common = {key: opening[key] for key in ("project", "entity", "group", "name", "job_type", "tags")} | {"dir": opening["run_folder"]}
    upload = MODEL_SECONDS if opening["models"] else UPLOAD_SECONDS
    common["settings"] = wandb.Settings(
        console="off", silent=True, init_timeout=INIT_SECONDS, finish_timeout=upload, x_stats_pid=opening["parent"]
    )
    config = opening["config"] | {"session": opening["session"], "tracking_id": opening["id"]}
    reason = _reason_for_offline(opening["mode"])
    if reason is None:
        try:
            run = wandb.init(mode="online", id=opening["id"], resume="allow", config=config, **common)
            _say(f"{opening['name']} at {run.url}")
            return run
        except Exception as error:
            traceback.print_exc()
            reason = f"online didn't work ({_first_line(error)})"
    sync = f"{shlex.quote(opening['run_folder'])}/wandb/offline-run-*"
    _say(f"{reason}, so it is offline; `wandb sync {sync}` uploads later.")
    # An offline run can't be resumed, and two under one id would overwrite each other when they are synced.
    earlier = [f"{opening['id']}-{session}" for session in range(1, opening["session"])]
    notes = f"continues {earlier[-1]} (or {opening['id']}) after an interruption" if earlier else None
    own_id = f"{opening['id']}-{opening['session']}"
    return wandb.init(mode="offline", id=own_id, config=config | {"continues": earlier}, notes=notes, **common)


def _reason_for_offline(mode: str) -> str | None:
    """None when online is to be tried; looks for a key without asking for one and without asking the server."""
    if mode == "offline":
        return "asked for"
    import wandb

    try:
        found = wandb.login(prompt=False, verify=False)
    except Exception as error:
        return f"the API key can't be used ({_first_line(error)})"
    return None if found else "no API key found (`wandb login`, or WANDB_API_KEY)"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _say(message: str) -> None:
    with suppress(OSError):  # the disk may be full
        print(f"W&B: {message}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
