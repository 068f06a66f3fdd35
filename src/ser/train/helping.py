"""Training by several processes of one launcher: the first runs the command, the others do what it tells them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed

from ser.runtime.errors import EXIT_INTERRUPTED, Interrupted
from ser.runtime.progress import say
from ser.runtime.team import Team, join_team
from ser.train.fold import help_train


@contextmanager
def leading() -> Iterator[bool]:
    """True in the process that runs the command; the others help until it is done, and then there is nothing left to do."""
    team = join_team()
    if team.leads:
        if team.size > 1:
            say(f"{team.size} processes train together; this one reads, writes and tells")
        yield True
        if team.size > 1:
            team.tell(None)
            distributed.destroy_process_group()
        return
    _help(team)
    yield False


def _help(team: Team) -> None:
    """Take part in one model after the other, silently. Signals are for the leading process; when it ends, this one does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout, told, sys.stderr = nowhere, sys.stderr, nowhere
        try:
            while (order := team.tell()) is not None:
                run, part, frontend = order
                if run.config.train.threads:
                    torch.set_num_threads(run.config.train.threads)
                help_train(run, part, frontend, team)
        except Interrupted:
            os._exit(EXIT_INTERRUPTED)  # at once: a GPU may wait for a message that never comes
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, told
    distributed.destroy_process_group()
