"""A recording of any length, block by block, decoded in a process that may die.

The process writes what it decodes into a pipe, which stops it while nobody reads: memory doesn't grow with the file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ser.audio.container import missing_bytes, recognise
from ser.audio.decoding import stat_regular, unopened
from ser.audio.pool import SECONDS_PER_FILE, start_process
from ser.audio.reading import Recording, Unreadable, read_all
from ser.audio.worker import READY, silenced_answers


class AudioStream:
    """The blocks of one recording, int16 (T,) mono at 16 kHz; iterate over it once.

    seconds: length by the file's header, None where it doesn't say; known after the first block. status: ok, or what ended the
    recording early or kept it from being read at all (missing, undecodable, truncated, non_finite); detail says more. Both are
    known at the end.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self.seconds: float | None = None
        self.status, self.detail = "ok", ""

    def __iter__(self) -> Iterator[np.ndarray]:
        process = start_process("ser.audio.stream")
        try:
            process.stdin.write(json.dumps(self.path).encode() + b"\n")
            process.stdin.close()
            while True:
                line = process.stdout.readline()
                if not line.endswith(b"\n"):
                    self._died(process.wait())
                    return
                answer = json.loads(line)
                self.seconds = answer.get("seconds", self.seconds)
                if "status" in answer:
                    self.status, self.detail = answer["status"], answer["detail"]
                    return
                block = process.stdout.read(answer["size"])
                if len(block) < answer["size"]:
                    self._died(process.wait())
                    return
                yield np.frombuffer(block, np.int16)
        finally:
            process.stdout.close()  # a process still writing ends by that
            process.wait()

    def _died(self, code: int) -> None:
        reason = f"nothing decoded within {SECONDS_PER_FILE} s" if code == -signal.SIGALRM else "it crashes the decoder"
        self.status, self.detail = "undecodable", reason


def main() -> None:
    """Decode the file named on stdin (a line of JSON) to stdout: lines of JSON, each with `size` followed by so many bytes."""
    answers = silenced_answers()
    answers.write(READY)
    answers.flush()
    path = json.loads(sys.stdin.buffer.readline())
    try:
        status, detail = _decode(path, answers)
        answers.write(json.dumps({"status": status, "detail": detail}).encode() + b"\n")
        answers.flush()
    except BrokenPipeError:  # nobody wants the rest
        os._exit(0)


def _decode(path: str, answers) -> tuple[str, str]:
    try:
        stat_regular(path)
        with Path(path).open("rb", buffering=0) as file:
            container = recognise(file.fileno())
            if container is None:
                return "undecodable", "the content is no audio format known here"
            lacking = missing_bytes(file.fileno(), container, os.fstat(file.fileno()).st_size)
            recording = None
            signal.alarm(SECONDS_PER_FILE)
            try:
                for recording in read_all(file, container):
                    signal.alarm(0)
                    _send(recording, answers)
                    signal.alarm(SECONDS_PER_FILE)
            except Unreadable as reason:
                return ("truncated", lacking) if lacking else ("undecodable", str(reason))
            signal.alarm(0)
            return _judge(recording, lacking)
    except BrokenPipeError:
        raise
    except OSError as error:
        clip = unopened(error)
        return clip.status, clip.detail


def _send(recording: Recording, answers) -> None:
    samples = recording.take()
    total = recording.total_frames
    header = {"size": samples.nbytes, "seconds": None if total is None else total / recording.rate}
    answers.write(json.dumps(header).encode() + b"\n" + samples.tobytes())
    answers.flush()


def _judge(recording: Recording, lacking: str) -> tuple[str, str]:
    if lacking:
        return "truncated", lacking
    if recording.damaged:
        return "undecodable", f"{recording.damaged} (after {recording.frames / recording.rate:.1f} s)"
    if recording.non_finite:
        return "non_finite", f"{recording.non_finite:,} samples are NaN or infinite"
    return "ok", ""
