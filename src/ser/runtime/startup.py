"""The first seconds of a command, before its `main`: Ctrl-C while libraries are imported, how threads wait, what the terminal can show; and
how seldom Python looks for garbage, at the end as well."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress

INTERRUPTED = "stopped: interrupted from the keyboard"
EXIT_KEYBOARD = 130


def end_quietly_while_importing() -> None:
    """Ctrl-C ends the process with one line. Nothing is lost by that, and an import would turn it into errors of its own."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def let_waiting_threads_sleep() -> None:
    """Threads of a network that wait for each other sleep after a moment, instead of keeping a core from the one they wait for.

    To be called before torch is imported (its OpenMP is GNU's). Measured on two cores, a small network on both: alone 145 and 145 clips/s
    instead of 135 and 148; beside a process that keeps one core busy 88 instead of 4 to 18.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def look_for_garbage_seldom() -> None:
    """Rings of Python's objects that nobody holds any more are looked for after 100,000 new objects (by default 700), and not at the end.

    The libraries make a million that stay: to import what a fold's process needs and to end it took 16.6 s of processor time by default,
    14.3 with 10,000 and no more, 12.0 so (medians of five in turn, an Intel Xeon in a slow hour).
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)  # what is left goes with the process


def begin_command() -> None:
    """From here on Ctrl-C is an exception, a sign that the terminal's encoding lacks is shown as `?`, and a line is out when it is whole,
    so that in a log file no line about progress comes into the middle of it."""
    look_for_garbage_seldom()
    if signal.getsignal(signal.SIGINT) == _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a closed one, or one that a test or a notebook put there
            stream.reconfigure(errors="replace", line_buffering=True)


def _end(number: int, frame: object) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(EXIT_KEYBOARD)
