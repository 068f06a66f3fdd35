"""One process per fold: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ser.runtime.errors import UserError

NAME = ".lock"


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a fold's folder. Raises UserError when another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("w") as file:
        if not _take(file):
            raise UserError(f"{folder} is being trained by another process. Give each process its own --folds.")
        yield


def is_being_trained(run_folder: Path) -> bool:
    """Whether another process holds the lock of some model of this run."""
    for path in run_folder.glob(f"*/{NAME}"):
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
