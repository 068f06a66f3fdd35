"""One process per fold: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ser.runtime.errors import UserError

NAME = ".lock"
MOST_SECONDS = 90.0
"""So long a process that has been asked to stop may take to write its checkpoint."""


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a fold's folder. Raises UserError when another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("w") as file:
        if not _take(file):
            raise UserError(f"{folder} is being trained by another process. Give each process its own --folds.")
        yield


def wait_until_free(folder: Path) -> None:
    """Wait for a process that holds the lock of a fold's folder and is about to end; MOST_SECONDS at most."""
    end = time.monotonic() + MOST_SECONDS
    while is_being_trained(folder.parent, folder.name) and time.monotonic() < end:
        time.sleep(0.5)


def is_being_trained(run_folder: Path, model: str = "*") -> bool:
    """Whether another process holds the lock of some model of this run, or of this one."""
    for path in run_folder.glob(f"{model}/{NAME}"):
        with path.open("a") as file:
            if not _take(file):
                return True
    return False


def _take(file: TextIO) -> bool:
    # A record lock belongs to the process alone. flock is inherited by the loader's workers, which outlive a killed
    # training by seconds, and the restarted one would find its fold locked.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a mount without locks: nobody can be kept out there
        return True
    return True
