"""What a process with networks on a CPU keeps in memory: what was freed, for the next batch; not the kernels of every length of a clip.

glibc takes whatever is larger than 32 MB from the system and gives it back as soon as it is freed, and getting it anew costs a page fault
for every 4 kB: without that, eight clips went through the frozen convolutions of wav2vec2-base 1.5 times as fast (AMD EPYC, a virtual
machine). oneDNN keeps the last 1,024 kernels, and each length needs its own: 120 clips of as many lengths through wav2vec2-base made a
process 1.4 GB larger, and more would have gone on; with 128 kernels it is 0.3 GB and no more after 240 clips, at the same speed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil

KERNELS = 128
"""An epoch's step or a clip needs about twenty."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_… of malloc.h


def settle_cpu_memory() -> None:
    """For this process, from here on; of no effect where the allocator isn't glibc's, or where oneDNN has been at work before."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def memory_here() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's (cgroup v2)."""
    limit = Path("/sys/fs/cgroup/memory.max")
    given = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    return min(psutil.virtual_memory().total, int(given) if given.isdigit() else sys.maxsize)
