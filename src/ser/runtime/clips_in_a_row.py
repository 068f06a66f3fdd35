"""Several clips of their own lengths in one batch without padding: one behind the other along the time axis.

What is the same for every frame is one product then, for which weights come from memory once and not once a clip; what mixes frames
(convolutions, attention) asks here where each clip ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Of each clip its samples, and the frames that a feature encoder makes of them."""

    samples: Sequence[int]
    frames: Sequence[int]


_row: ContextVar[Row | None] = ContextVar("row", default=None)  # one network may serve several threads


@contextmanager
def in_a_row(samples: Sequence[int], frames: Sequence[int]) -> Iterator[None]:
    """Within it, a network's batch are these clips."""
    before = _row.set(Row(samples, frames))
    try:
        yield
    finally:
        _row.reset(before)


def row_here() -> Row | None:
    """The clips of the batch, None where they aren't in a row."""
    return _row.get()
