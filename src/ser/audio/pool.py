"""Decode many files at once, each in a process that may die, and that is ended when a file takes too long.

Damaged files can crash a native decoder or keep it busy for ever. Here that costs one file its status, not the run its
life. The processes are plain subprocesses, so a script needs no `__main__` guard to use them.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

import ser
from ser.audio.status import Clip
from ser.audio.worker import READY
from ser.runtime.processors import processors

SECONDS_PER_FILE = 60  # a clip takes milliseconds
FILES_PER_WORKER = 32  # a process starts in a fraction of a second, which is about as many short clips
MOST_WORKERS = 32
AHEAD = 64  # clips decoded but not yet asked for


def decode_all(
    paths: Sequence[str | os.PathLike], min_seconds: float = 0.1, max_seconds: float = 15.0, noise_reduction: bool = False
) -> Iterator[Clip]:
    """Yield the clip of each path, in order. Never raises for a bad file, whatever it does to its decoder."""
    decoders = Decoders()
    try:
        yield from decoders.decode_all(paths, min_seconds, max_seconds, noise_reduction)
    finally:
        decoders.close()


class Decoders:
    """Decoding processes that stay for the next file: starting one takes as long as decoding dozens of clips.

    Several threads may ask; there are never more processes than processors, and the one used last is used next. They end with `close`,
    after which the next file starts one again, or with the object.
    """

    def __init__(self) -> None:
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._count = min(processors(), MOST_WORKERS)
        for _ in range(self._count):
            self._idle.put(Worker())

    def decode_all(
        self, paths: Sequence[str | os.PathLike], min_seconds: float = 0.1, max_seconds: float = 15.0, noise_reduction: bool = False
    ) -> Iterator[Clip]:
        """Yield the clip of each path, in order. Never raises for a bad file, whatever it does to its decoder."""

        def decode_one(path: str | os.PathLike) -> Clip:
            with self._worker() as worker:
                return worker.decode(path, min_seconds, max_seconds, noise_reduction)

        # Each thread only waits for its process.
        with ThreadPoolExecutor(max(1, min(self._count, len(paths) // FILES_PER_WORKER))) as threads:
            try:
                waiting = deque()
                for path in paths:
                    waiting.append(threads.submit(decode_one, path))
                    if len(waiting) >= AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def start(self) -> None:
        """Start a process now and not with the first file."""
        with self._worker() as worker:
            worker.start()

    def close(self) -> None:
        """End the processes; one that is at work ends with its file."""
        workers = [self._idle.get() for _ in range(self._count)]
        for worker in workers:
            worker.close()
            self._idle.put(worker)

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


class Worker:
    """One decoding process, started when first needed and started again after a crash."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        self.owner = os.getpid()

    def decode(self, path: str | os.PathLike, min_seconds: float = 0.1, max_seconds: float = 15.0, noise_reduction: bool = False) -> Clip:
        """The clip of a file; a file that kills its decoder twice is undecodable."""
        settings = {"min_seconds": float(min_seconds), "max_seconds": float(max_seconds), "noise_reduction": noise_reduction}
        for _ in range(2):
            try:
                return self._ask({"path": os.fspath(path), **settings})
            except (EOFError, BrokenPipeError):
                code = self.close()
                if code == -signal.SIGALRM:
                    return Clip(None, "undecodable", ("undecodable",), f"not decoded within {SECONDS_PER_FILE} s")
            except BaseException:  # the rest of its answer would be taken for the next file's
                self.process and self.process.kill()
                self.close()
                raise
        return Clip(None, "undecodable", ("undecodable",), f"it crashes the decoder ({_explain(code)})")

    def start(self) -> None:
        """Start the process where there is none."""
        if self.owner != os.getpid():  # we were forked: the parent's questions and ours would be mixed
            self.process, self.owner = None, os.getpid()
        if self.process is None:
            self.process = start_process("ser.audio.worker")

    def close(self) -> int:
        """End the process; returns its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        with suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code

    def _ask(self, arguments: dict) -> Clip:
        self.start()
        request = [SECONDS_PER_FILE, arguments]
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        facts, size = json.loads(line)
        facts["notes"] = tuple(facts["notes"])
        if size is None:
            return Clip(None, **facts)
        samples = self.process.stdout.read(size)
        if len(samples) < size:
            raise EOFError
        return Clip(np.frombuffer(samples, np.int16), **facts)


def start_process(module: str) -> subprocess.Popen:
    """A process that runs `main` of a module of ours, once its imports are done."""
    source = str(Path(ser.__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
    # -P: nothing in the current folder can take a library's place. One process uses one core.
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", f"from {module} import main; main()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)  # noqa: S603
    if process.stdout.readline() != READY:
        raise RuntimeError(f"the decoding process doesn't start (exit code {process.wait()}); its message stands above")
    return process


def _explain(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
