"""The first seconds of a command, before its `main`: Ctrl-C while libraries are imported, and what the terminal can show."""

from __future__ import annotations

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


def begin_command() -> None:
    """From here on Ctrl-C is an exception, and a sign that the terminal's encoding lacks is shown as `?`."""
    gc.set_threshold(10_000)  # by default a seventh of the time that transformers and scikit-learn take to import is a search for garbage
    if signal.getsignal(signal.SIGINT) == _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a closed one, or one that a test or a notebook put there
            stream.reconfigure(errors="replace")


def _end(number: int, frame: object) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(EXIT_KEYBOARD)
