"""The web service of docs/korean.md under load on loopback, beside the library alone; and what is lost when it is ended amid requests.

Needs requirements-api.txt. Every answer is compared with the library's for the same clip; a request without a whole answer is an error.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clips import make_checkpoint, make_folder
from benchmarks.measuring import Case, Options, in_turn, quietly

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-5
START_SECONDS, ANSWER_SECONDS = 600, 120
EXPECTED_LOSSES = (OSError, http.client.HTTPException)  # refused, reset, ended before the answer


def cases(options: Options) -> Iterator[Case]:
    from ser.korean import create_inference_engine

    count = options.clips or (8 if options.quick else 200)
    for size in options.sizes or (["tiny"] if options.quick else ["tiny", "base"]):
        with tempfile.TemporaryDirectory() as folder, quietly():
            model = make_checkpoint(Path(folder) / size, size)
            files = sorted((make_folder(Path(folder) / "data", min(count, 100)) / "train").iterdir())
            engine = create_inference_engine(model)
            clips = [Clip(path.name, path.read_bytes(), engine.predict_single(path)["probabilities"]) for path in files]
            with Service(model, Path(folder)) as service:
                case = under_load(f"requests, {size}", service, engine, files, clips, count, options)
            ended = ended_amid(model, Path(folder), clips, options)
            engine.close()
        yield case
        yield ended


def example() -> str:
    """The service that docs/korean.md shows."""
    text = (ROOT / "docs" / "korean.md").read_text(encoding="utf-8")
    return textwrap.dedent(re.search(r"^ {4}# service\.py\n(?:(?: {4}.*)?\n)*", text, re.MULTILINE).group())


@dataclass(frozen=True)
class Clip:
    """What is sent, and the probabilities that it has by the library."""

    name: str
    content: bytes
    expected: dict[str, float]


@dataclass(frozen=True)
class Request:
    """One that was made. sent: when the service had all of it before it. fault: why there is no right answer, "" where there is."""

    sent: float
    seconds: float
    fault: str


class Service:
    """The example, run by uvicorn in a process of its own on a free port; ready when entered."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.folder, self.environment = folder, os.environ | {"SER_MODEL": str(model), "PYTHONPATH": str(ROOT / "src")}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def __enter__(self) -> Service:
        (self.folder / "service.py").write_text(example(), encoding="utf-8")
        command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(self.port), "--log-level", "warning"]
        self.process = subprocess.Popen([*command, "--timeout-graceful-shutdown", "30"], cwd=self.folder, env=self.environment)
        began = time.monotonic()
        while self.process.poll() is None and time.monotonic() - began < START_SECONDS:
            with suppress(*EXPECTED_LOSSES):
                if self.ask("GET", "/health")[0] == 200:
                    return self
            time.sleep(0.05)
        self.process.kill()
        raise RuntimeError("the service doesn't start; is requirements-api.txt installed?")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(ANSWER_SECONDS)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict | None = None, on_sent: Callable[[], None] = lambda: None
    ) -> tuple[int, dict]:
        """Code and JSON of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            on_sent()
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def upload(self, name: str, content: bytes, on_sent: Callable[[], None] = lambda: None) -> tuple[int, dict]:
        """What is answered to a clip."""
        head = f'--part\r\nContent-Disposition: form-data; name="clip"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--part--\r\n"
        return self.ask("POST", "/predict", body, {"Content-Type": "multipart/form-data; boundary=part"}, on_sent)


def load(service: Service, clips: Sequence[Clip], count: int, at_once: int, stop: threading.Event | None = None) -> list[Request]:
    """The requests that so many clients make, together `count`, or until told to stop."""
    numbers, made, lock = iter(range(count)), [], threading.Lock()

    def client() -> None:
        while not (stop and stop.is_set()):
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            request = one(service, clips[number % len(clips)])
            made.append(request)
            if request.fault:
                time.sleep(0.02)  # as clients do who try again

    threads = [threading.Thread(target=client) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def one(service: Service, clip: Clip) -> Request:
    began, sent = time.monotonic(), []
    try:
        code, found = service.upload(clip.name, clip.content, lambda: sent.append(time.monotonic()))
        told = found.get("probabilities") or {}
        right = told.keys() == clip.expected.keys() and all(abs(told[name] - p) < TOLERANCE for name, p in clip.expected.items())
        fault = "" if code == 200 and right and found["file_path"] == clip.name else f"a wrong answer: {code} {found}"
    except EXPECTED_LOSSES as error:
        fault = type(error).__name__
    return Request(sent[0] if sent else math.inf, time.monotonic() - began, fault)


def under_load(name: str, service: Service, engine, files: Sequence[Path], clips: Sequence[Clip], count: int, options: Options) -> Case:
    seen: dict[str, list[Request]] = {}

    def library() -> None:
        for number in range(count):
            engine.predict_single(files[number % len(files)])

    def requests(way: str, at_once: int) -> None:
        seen.setdefault(way, []).extend(load(service, clips, count, at_once))

    ways = {"the library, one by one": library}
    for at_once in (1, 4) if options.quick else (1, 4, 16, 64):
        way = f"the service, {at_once} at once"
        ways[way] = lambda way=way, at_once=at_once: requests(way, at_once)
    seconds = in_turn(ways, options.rounds)
    return Case(name, seconds, count, "clips", {way: waits(made) for way, made in seen.items()})


def waits(made: Sequence[Request]) -> str:
    """How long one waits for an answer, and how many weren't right."""
    seconds = sorted(request.seconds for request in made)
    middle, high = statistics.median(seconds), seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
    return f"p50 {middle * 1000:.0f} ms, p95 {high * 1000:.0f} ms, errors {sum(bool(request.fault) for request in made)} of {len(made)}"


def ended_amid(model: Path, folder: Path, clips: Sequence[Clip], options: Options) -> Case:
    seconds: dict[str, list[float]] = {"SIGTERM": [], "SIGKILL": []}
    notes: dict[str, str] = {}
    for name, rounds in seconds.items():
        made: list[tuple[Request, float]] = []
        for _ in range(min(options.rounds, 3)):
            with Service(model, folder) as service:
                taken, requests, known = end(service, clips, getattr(signal, name))
            rounds.append(taken)
            made += [(request, known) for request in requests]
        begun = [request for request, known in made if request.sent < known]
        right, lost = sum(not request.fault for request, _ in made), sum(bool(request.fault) for request in begun)
        faults = ", ".join(sorted({request.fault for request, _ in made if request.fault})) or "none"
        notes[name] = (
            f"8 clients, {len(made)} requests, {right} answered rightly; {lost} lost of {len(begun)} sent before; errors: {faults}"
        )
    return Case("until the process is gone", seconds, notes=notes)


def end(service: Service, clips: Sequence[Clip], number: int, at_once: int = 8) -> tuple[float, list[Request], float]:
    """Seconds that the service lives on after a signal amid the requests of several clients, the requests, and when: what was sent before
    is known to the service, since it had answered a later request before the signal came."""
    stop, made = threading.Event(), []
    asking = threading.Thread(target=lambda: made.extend(load(service, clips, 1_000_000, at_once, stop)))
    asking.start()
    time.sleep(1.0)
    known = time.monotonic()
    service.ask("GET", "/health")
    began = time.monotonic()
    service.process.send_signal(number)
    service.process.wait(ANSWER_SECONDS)
    taken = time.monotonic() - began
    stop.set()
    asking.join()
    return taken, made, known
