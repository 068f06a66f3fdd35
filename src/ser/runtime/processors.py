"""How many processors this process may use."""

from __future__ import annotations


def processors() -> int:
    """As many as its affinity and its container's quota leave it, at least one."""
    from joblib import cpu_count  # not at the top: it takes longer than what light commands do with it

    return cpu_count()
