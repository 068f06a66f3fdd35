"""The decoding process behind `ser.audio.pool`: reads requests on stdin, answers on stdout.

A request is a line of JSON: [seconds it may take, the arguments of `decode`]. An answer is a line of JSON (the clip without
its samples, and their number of bytes) followed by the int16 samples. It ends with its input.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from typing import BinaryIO

from ser.audio.decoding import decode

READY = b"ready\n"  # the first line: imports went well, stderr is silent from here on


def main() -> None:
    """Answer requests until there are no more."""
    answers = silenced_answers()
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        seconds, arguments = json.loads(line)
        # The default action of the alarm ends the process even when it hangs inside a native decoder.
        signal.alarm(seconds)
        clip = decode(**arguments)
        signal.alarm(0)
        facts = {part.name: getattr(clip, part.name) for part in dataclasses.fields(clip) if part.name != "samples"}
        samples = None if clip.samples is None else clip.samples.tobytes()
        answers.write(json.dumps([facts, None if samples is None else len(samples)]).encode() + b"\n" + (samples or b""))
        answers.flush()


def silenced_answers() -> BinaryIO:
    """Where the parent reads; anything else that is written to stdout or stderr from here on goes nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this
    answers = os.fdopen(os.dup(1), "wb")
    # Native decoders print warnings about every damaged file, some of them on stdout.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers
