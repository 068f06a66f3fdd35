"""The process that owns W&B: follows a spool file of JSON lines and passes them on.

Started by `tracking`, as `python -m ser.train.tracking_process FILE.jsonl`. The first line says what to open. It ends at
the `finish` line, or when the training process is gone, and in any case a minute after that. Lines on stdout are messages
for the user; everything else goes to the log on stderr.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INIT_SECONDS = 5.0
UPLOAD_SECONDS = 30.0
END_SECONDS = 60.0
POLL_SECONDS = 0.3


def main(spool: Path) -> None:
    """Follow the spool file to its end and end the process, whatever W&B's own exit hooks would still wait for."""
    os.nice(5)  # training comes first
    try:
        _follow_into_wandb(spool)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _follow_into_wandb(spool: Path) -> None:
    lines: queue.Queue[dict] = queue.Queue()
    threading.Thread(target=_read, args=(spool, lines), daemon=True).start()
    opening = lines.get()
    run = _open_run(opening)
    failed = False
    for item in iter(lines.get, None):
        if item["kind"] == "finish":
            run.summary.update(item["summary"])
            failed = item["failed"]
        else:
            try:
                _pass_on(run, item)
            except Exception:
                traceback.print_exc()
                _say(f"W&B: {opening['name']} goes on without its {item['kind']}; see {spool.with_suffix('.log')}")
    run.finish(exit_code=int(failed))
    spool.unlink(missing_ok=True)
    spool.with_suffix(".messages").unlink(missing_ok=True)


def _read(spool: Path, lines: queue.Queue) -> None:
    """Fill the queue to the end, then see to it that this process ends too, even if W&B hangs."""
    for item in _follow(spool):
        lines.put(item)
    lines.put(None)
    time.sleep(END_SECONDS)
    os._exit(1)


def _follow(spool: Path) -> Iterator[dict[str, Any]]:
    """The items of the spool file as they are written; a `finish` of its own when the training process is gone."""
    parent = None
    with spool.open(encoding="utf-8") as file:
        text = ""
        while True:
            gone = parent is not None and os.getppid() != parent  # asked before reading, so that the last lines are seen
            text += file.read()
            *whole, text = text.split("\n")
            for line in whole:
                item = json.loads(line)
                parent = item.get("parent", parent)
                yield item
                if item.get("kind") == "finish":
                    return
            if gone:
                yield {"kind": "finish", "summary": {}, "failed": True}
                return
            if not whole:
                time.sleep(POLL_SECONDS)


def _open_run(opening: dict[str, Any]) -> Any:
    """Online under the id kept in tracking.json; otherwise offline, as a run of its own in the same group."""
    import wandb

    common = {
        "project": opening["project"],
        "entity": opening["entity"],
        "group": opening["group"],
        "name": opening["name"],
        "job_type": opening["job_type"],
        "tags": opening["tags"],
        "dir": opening["run_folder"],
    }
    settings = wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_SECONDS,
        finish_timeout=UPLOAD_SECONDS,
        x_stats_pid=opening["parent"],
    )
    config = opening["config"] | {"session": opening["session"], "tracking_id": opening["id"]}
    reason = _reason_for_offline(opening["mode"])
    if reason is None:
        try:
            run = wandb.init(mode="online", id=opening["id"], resume="allow", config=config, settings=settings, **common)
            _say(f"W&B: {opening['name']} at {run.url}")
            return run
        except Exception as error:
            traceback.print_exc()
            reason = f"online didn't work ({_first_line(error)})"
    sync = Path(opening["run_folder"]) / "wandb" / "offline-run-*"
    _say(f"W&B: {reason}, so it is offline; `wandb sync {sync}` uploads later.")
    # An offline run can't be resumed, and two under one id would overwrite each other when they are synced.
    earlier = [f"{opening['id']}-{session}" for session in range(1, opening["session"])]
    return wandb.init(
        mode="offline",
        id=f"{opening['id']}-{opening['session']}",
        config=config | {"continues": earlier},
        notes=f"continues {earlier[-1]} (or {opening['id']}) after an interruption" if earlier else None,
        settings=settings,
        **common,
    )


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


def _pass_on(run: Any, item: dict[str, Any]) -> None:
    import wandb

    if item["kind"] == "log":
        run.log(item["values"], step=item["step"])
    elif item["kind"] == "confusion":
        chart = wandb.plot.confusion_matrix(y_true=item["labels"], preds=item["predictions"], class_names=item["label_names"])
        run.log({"confusion matrix": chart})
    elif item["kind"] == "mistakes" and item["rows"]:
        columns = list(item["rows"][0])
        run.log({"worst mistakes": wandb.Table(columns, [[_unpack_audio(row[name]) for name in columns] for row in item["rows"]])})


def _unpack_audio(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    import numpy as np
    import wandb

    return wandb.Audio(np.frombuffer(base64.b64decode(value["wave"]), dtype="<i2"), sample_rate=value["rate"])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _say(message: str) -> None:
    try:
        print(message, flush=True)
    except OSError:  # nobody reads it any more, or the disk is full
        traceback.print_exc()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
