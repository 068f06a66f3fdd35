"""Long work in stages, one after the other: how long each takes and how much memory it needs."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Stage:
    """A stage of work. seconds and the memory in MB are known once it is over.

    peak_mb: the most that the process held in memory during the stage; before_mb: what it held when the stage began.
    gpu_peak_mb: the most that torch held on the GPU; 0 without one.
    """

    name: str
    seconds: float = 0.0
    before_mb: float = 0.0
    peak_mb: float = 0.0
    gpu_peak_mb: float = 0.0

    def __str__(self) -> str:
        gpu = f", GPU {self.gpu_peak_mb:.0f} MB" if self.gpu_peak_mb else ""
        return f"{self.name}: {self.seconds:.1f} s, peak memory {self.peak_mb:.0f} MB{gpu}"


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Measure the work inside; afterwards release what nobody holds any more, and say on stderr what it took."""
    current = Stage(name, before_mb=_restart_peak())
    cuda = _cuda()
    if cuda:
        cuda.reset_peak_memory_stats()
    started = time.monotonic()
    yield current
    current.seconds = time.monotonic() - started
    current.peak_mb = _status_mb("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    gc.collect()
    if cuda:
        current.gpu_peak_mb = cuda.max_memory_allocated() / 2**20
        cuda.empty_cache()
    print(current, file=sys.stderr, flush=True)


def _restart_peak() -> float:
    """Let the system count the peak from now on; returns what is held now. Where it can't, peaks are since the start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_mb("VmRSS")


def _status_mb(key: str) -> float:
    """A number of /proc/self/status in MB; 0 where there is none (other systems than Linux)."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 2**10
    return 0.0


def _cuda():
    """torch.cuda where torch is in use and has a GPU."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
