"""What a process with networks on a CPU keeps in memory: what was freed, for the next batch; not the kernels of every length of a clip.

glibc takes whatever is larger than 32 MB from the system and gives it back as soon as it is freed, and getting it anew costs a page fault
for every 4 kB: without that, eight clips went through the frozen convolutions of wav2vec2-base 1.5 times as fast (AMD EPYC, a virtual
machine). oneDNN keeps the last 1,024 kernels, and each length needs its own: 120 clips of as many lengths through wav2vec2-base made a
process 1.4 GB larger, and more would have gone on; with 128 kernels it is 0.3 GB and no more after 240 clips, at the same speed.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import psutil

KERNELS = 128
"""An epoch's step or a clip needs about twenty."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of a container, by version 2 and version 1 of control groups."""
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
"""By which the user has settled it."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_… of malloc.h


def settle_cpu_memory() -> None:
    """For this process, from here on; of no effect where the allocator isn't glibc's, or where oneDNN has been at work before."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    if any(name in os.environ for name in OWN) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def memory_here() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's."""
    given = [limit.read_text(encoding="ascii").strip() for limit in LIMITS if limit.is_file()]
    return min([psutil.virtual_memory().total, *(int(bytes_) for bytes_ in given if bytes_.isdigit())])
