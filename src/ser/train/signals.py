"""Reasons to stop early and cleanly: a signal from the machine, or the end of the time that was given."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from ser.runtime.errors import Interrupted, UserError

MARGIN_SECONDS = 10.0
"""Time kept back from the budget for the last checkpoint; more where checkpoints turn out to take longer."""
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
        self._at_once = False
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

    def __enter__(self) -> Stopper:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: the terminal's end is not to matter
            self._previous[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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


def seconds_of(text: str) -> float:
    """`90s`, `50m`, `1.5h` or `1h30m` in seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"run.time_budget: given {text!r}; allowed are numbers with s, m or h, e.g. 90s, 50m, 1h30m.")
    return sum(float(number) * {"s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)
