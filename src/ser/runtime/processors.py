"""The processors of this machine: how many of them this process may use, and who made them."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_TOLD_BY_LINUX = Path("/proc/cpuinfo")


def processors() -> int:
    """As many as its affinity and its container's quota leave it, at least one."""
    from joblib import cpu_count  # not at the top: it takes longer than what light commands do with it

    return cpu_count()


@cache
def is_intel() -> bool:
    """Whether they are Intel's; false where nothing tells."""
    try:
        return "GenuineIntel" in _TOLD_BY_LINUX.read_text(encoding="ascii", errors="replace")
    except OSError:
        return "GenuineIntel" in platform.processor()
