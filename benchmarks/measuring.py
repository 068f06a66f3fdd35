"""Ways to do the same work, in turn, round after round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import ctypes
import io
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WORTH_A_LINE = 2.0
"""Seconds of work after which a line says how far a part is."""


@dataclass
class Options:
    """What the command line asks for; None is a part's own choice, which is larger on a GPU."""

    rounds: int = 5
    clips: int | None = None
    sizes: list[str] | None = None
    batch: int | None = None
    workers: int | None = None
    quick: bool = False


@dataclass
class Case:
    """One comparison. seconds: of every round, by way; the first way is the ordinary one. count: of `unit` done in that time."""

    name: str
    seconds: dict[str, list[float]]
    count: float = 1
    unit: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def ratio(self, way: str) -> float:
        """How many times as fast as the ordinary way: the median over rounds, each a pair of neighbours in time."""
        ordinary = next(iter(self.seconds.values()))
        return statistics.median(plain / own for plain, own in zip(ordinary, self.seconds[way], strict=True))

    def lines(self) -> Iterator[str]:
        """Median, range and ratio of each way."""
        yield f"{self.name}{f' ({self.count:g} {self.unit})' if self.unit else ''}"
        for way, rounds in self.seconds.items():
            middle = statistics.median(rounds)
            speed = f"{self.count / middle:12,.1f} {self.unit}/s" if self.unit else f"{middle:12.3f} s"
            spread = f"{min(rounds):.3g} to {max(rounds):.3g} s"
            yield f"  {way:44}{speed:>22}   ratio {self.ratio(way):7.2f}   ({spread}, {len(rounds)} rounds)"
        for name, value in self.notes.items():
            yield f"  {name}: {value}"

    def as_plain(self) -> dict:
        """For the JSON file."""
        medians = {way: statistics.median(rounds) for way, rounds in self.seconds.items()}
        ratios = {way: self.ratio(way) for way in list(self.seconds)[1:]}
        return asdict(self) | {"median_seconds": medians, "ratio_to_the_ordinary_way": ratios}


def in_turn(ways: dict[str, Callable[[], float | None]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each way in each round. A way that measures itself returns them. warm: a round before that doesn't count."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-1 if warm else 0, rounds):
        for way, run in ways.items():
            started = time.perf_counter()
            own = run()
            whole = time.perf_counter() - started
            if number >= 0:
                seconds[way].append(whole if own is None else own)
            if whole > WORTH_A_LINE:
                counted = "" if own is None else f", {own:.3g} of them measured"
                print(f"  {f'round {number + 1} of {rounds}' if number >= 0 else 'warm-up'}: {way} took {whole:.0f} s{counted}", flush=True)
    return seconds


def machine() -> dict[str, Any]:
    """Where the figures come from, and how busy it was: without that they mean nothing."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "gpu_memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if cuda else None,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """The processor's name, and whether it has what bf16 needs."""
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8", errors="replace") if information.exists() else ""
    name = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), platform.processor())
    fast = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in text]
    return f"{name} ({', '.join(fast) or 'no avx512'})"


def memory_as_it_comes() -> None:
    """Large blocks go back to the system as soon as they are freed, as without `ser.runtime.cpu_memory`: what the ordinary way has."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 65536)  # M_MMAP_MAX, glibc's own
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, to which glibc's own grows by itself
        mallopt(-1, 2**26)  # M_TRIM_THRESHOLD, likewise


def peak_memory_mb() -> float:
    """The most that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


@contextmanager
def quietly() -> Iterator[None]:
    """What the timed commands print isn't what a reader of the figures wants."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
