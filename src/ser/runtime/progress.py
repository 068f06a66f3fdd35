"""How far long work is: a bar in a terminal, a line at least every 30 s where there is none (nohup, a log file, a notebook)."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

LINE_SECONDS = 25.0
"""Between two lines, so that with a busy machine there is one every 30 s."""
WITHOUT_STEPS_TURN, COMMANDS_TURN = 1.06, 1.12
"""So much longer a bar without steps and a command wait with their line, as one that counts says more."""
LINE = "{desc}: {n_fmt} of {total_fmt} {things} ({percentage:.0f} %), {rate_fmt}, {elapsed} gone, {remaining} left{postfix}"
LINE_WITHOUT_END = "{desc}: {n_fmt} {things}, {rate_fmt}, {elapsed} gone{postfix}"
LINE_WITHOUT_STEPS = "{desc}: {elapsed} gone"
SAID = logging.getLogger("ser.said")
"""What `say` has printed, for those who keep it: nothing that asks for the messages of `ser` prints it a second time."""
SAID.propagate = False
SAID.addHandler(logging.NullHandler())


class ProgressBar(tqdm):
    """Around an iterable, or as a context manager with `update(n)`. Work that is done sooner shows nothing."""

    def __init__(
        self,
        iterable: Iterable | None = None,
        what: str | None = None,
        total: int | None = None,
        unit: str = "clip",
        initial: int = 0,
        delay: float = 2.0,
        hidden: bool = False,
    ):
        """what is done, how many of what it takes, how many are done already; delay: seconds before a bar appears."""
        self._closed, as_lines = threading.Event(), not sys.stderr.isatty()
        if as_lines:  # by a clock of its own, as one step of the work may take minutes
            looks = {"file": _Lines(), "mininterval": 1e9, "miniters": 1, "delay": 1e-9, "ncols": 200, "position": 0}
        else:
            looks = {"file": sys.stderr, "delay": delay}
        super().__init__(iterable, what, total, unit=unit, initial=initial, leave=False, disable=hidden, **looks)
        self._interval, self._delay, self._as_lines = LINE_SECONDS if as_lines else delay, delay, as_lines
        self._by_the_clock = (as_lines or not unit) and not hidden
        if iterable is None:
            self._start_lines()

    def __iter__(self) -> Iterator[Any]:
        self._start_lines()
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def close(self) -> None:
        """End the bar, or its lines."""
        self._closed.set()
        super().close()

    def _start_lines(self) -> None:
        if self._by_the_clock:
            threading.Thread(target=self._write_lines, daemon=True).start()

    def _write_lines(self) -> None:
        since, first = time.monotonic(), True
        while not self._closed.wait(self._until_line(since, first)):
            if self._until_line(since, first) > 0:
                continue  # another line has come in between
            since, first = time.monotonic(), False
            form = LINE if self.total else LINE_WITHOUT_END  # a film's length is known when it has been opened
            things = self.unit if self.unit == "s" else f"{self.unit}s"
            self.bar_format = form.replace("{things}", things) if self.unit else LINE_WITHOUT_STEPS
            self.refresh()

    def _until_line(self, since: float, first: bool) -> float:
        """Seconds until the line that comes next, after the one then or (first) after the beginning.

        A young bar takes the turn of its command's own line; one without steps has a line where no other has.
        """
        due, last = since + self._interval, _Lines.last
        if self._as_lines and last is not None:
            if not self.unit:
                due = max(since + self._delay, last + LINE_SECONDS * WITHOUT_STEPS_TURN)
            elif first:
                due = min(due, max(since + self._delay, last + LINE_SECONDS))
        return due - time.monotonic()


def busy(what: str) -> ProgressBar:
    """Around work that has no steps to count (a solver, statistics): it is told how long it has been going on."""
    return ProgressBar(what=what, unit="")


@contextmanager
def never_silent(what: str) -> Iterator[None]:
    """Around a whole command: where there is no terminal and no bar has said anything for long (imports, a download), a line says so."""
    over, started = threading.Event(), time.monotonic()
    _Lines.last = started

    def silent_until() -> float:
        return (_Lines.last or started) + LINE_SECONDS * COMMANDS_TURN

    def speak() -> None:
        while not over.wait(max(0.01, silent_until() - time.monotonic())):
            if time.monotonic() >= silent_until():
                _Lines().write(f"{what}: at work, {tqdm.format_interval(time.monotonic() - started)} gone")

    if not sys.stderr.isatty():
        threading.Thread(target=speak, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        _Lines.last = None


class _Lines:
    """What tqdm would draw, as lines on stderr. last: when one was written, or the command began; None outside of a command."""

    encoding = "utf-8"
    last: float | None = None

    def write(self, text: str) -> None:
        if line := text.strip("\r\n ").strip():
            with tqdm.get_lock():  # bars and the command write from threads of their own
                if _Lines.last is not None:
                    _Lines.last = time.monotonic()
                sys.stderr.write(f"{line}\n")  # `print` writes the line's end by itself, and another line may come before it
                sys.stderr.flush()

    def flush(self) -> None:
        """Every line is out already."""


def say(message: str, file: TextIO | None = None) -> None:
    """Print a line, by default on stdout, without breaking a bar; a program's log file gets it, too (`ser.korean.setup_logging`)."""
    tqdm.write(message, file=file)
    level = logging.WARNING if "\nwarning: " in f"\n{message}" else logging.INFO
    SAID.log(level, "%s", message.removeprefix("warning: "))
