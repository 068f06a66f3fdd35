"""Reasons to stop early and cleanly: a signal from the machine, or the end of the time that was given."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from ser.config.ranges import seconds_of
from ser.runtime.errors import EXIT_INTERRUPTED, Interrupted

MARGIN_SECONDS = 10.0
"""Time kept back from the budget for the last checkpoint; more where checkpoints turn out to take longer."""
STUCK_SECONDS = 60.0
"""So long after a signal the process ends in any case, but for `unhurried` work; every file is written whole or not at all."""
ECHO_SECONDS = 3.0
"""A signal so soon after the first is the same one, which reached the process on two ways (its group, and train.sh)."""


class Stopper:
    """Asked by the loop after every optimizer step: `reason` is None, or why to write a checkpoint and leave.

    As a context manager it takes over SIGINT, SIGTERM and SIGHUP; a second one ends the process at once.
    """

    def __init__(self, time_budget: str | None = None):
        """time_budget: e.g. 50m; counted from the environment's SER_STARTED (seconds since 1970) where train.sh set it."""
        started = float(os.environ.get("SER_STARTED", time.time()))
        self.margin = MARGIN_SECONDS
        self._end = None if time_budget is None else started + seconds_of(time_budget)
        self._budget = time_budget
        self._signal: str | None = None
        self._since = 0.0
        self._at_once = self._unhurried = False
        self._hurried_since = -math.inf
        self._previous: dict[int, object] = {}

    @property
    def reason(self) -> str | None:
        if self._signal is not None:
            return f"{self._signal} received"
        if self._end is not None and time.time() >= self._end - self.margin:
            return f"the time budget of {self._budget} is used up"
        return None

    def check(self) -> None:
        """Raise Interrupted when there is a reason to."""
        if (reason := self.reason) is not None:
            raise Interrupted(f"{reason}. Run the same command again to go on.")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around work that nothing is lost of (reading data, fetching a model): a signal ends it in the middle, by Interrupted."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False
        self.check()

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Around the last checkpoint, and the waiting for processes that write theirs: a signal lets them take as long as they need."""
        self._unhurried = True
        try:
            yield
        finally:
            self._unhurried, self._hurried_since = False, time.monotonic()

    def __enter__(self) -> Stopper:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: the terminal's end is not to matter
            self._previous[number] = signal.signal(number, self._take)
        patience = lambda: max(STUCK_SECONDS, 3 * self.margin)  # noqa: E731
        self._guard = _Guard(patience, lambda: self._unhurried or time.monotonic() - self._hurried_since < patience())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._guard.close()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal, self._since = signal.Signals(number).name, time.monotonic()
            if self._at_once:
                self.check()
        elif time.monotonic() - self._since > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


class _Guard:
    """Ends the process when a signal has no effect, because the work is stuck or waits in a library where Python can't hear it.

    Python's own signal handlers run between two steps of the main thread only; the byte that it writes at once wakes this thread.
    """

    def __init__(self, patience: Callable[[], float], unhurried: Callable[[], bool]) -> None:
        self._patience, self._unhurried = patience, unhurried
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        try:
            self._before = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread, which no signal reaches
            self._before = -1
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        with suppress(ValueError):
            signal.set_wakeup_fd(self._before)
        self._mouth.close()

    def _listen(self) -> None:
        first, asked_again = None, False
        while True:
            try:
                heard = self._ear.recv(1)
            except TimeoutError:
                if asked_again or not self._unhurried():
                    break
                continue
            except OSError:
                return
            if not heard:  # closed
                return
            if heard[0] not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                continue
            if first is None:
                first = time.monotonic()
                self._ear.settimeout(self._patience())
            elif time.monotonic() - first > ECHO_SECONDS:
                asked_again = True
                self._ear.settimeout(1.0)  # if the handler can end the process, it does so before
        os.write(2, b"stopped: a signal came, and the work did not end by itself. Run the same command again to go on.\n")
        os._exit(EXIT_INTERRUPTED)


def _speak_for_nobody() -> None:
    """In a child that was forked: its signals aren't its parent's."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_speak_for_nobody)
