"""The figures as a table to put into a document: a row for each way beside the ordinary one, and the machine above it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def as_table(found: dict[str, Any]) -> str:
    """Markdown of what `python -m benchmarks` found (the content of its JSON file)."""
    machine = found["machine"]
    where = f"{machine['device']}, {machine['cores']} cores, {machine['threads']} threads; {machine['system']}; torch {machine['torch']}"
    busy = f"load before: {', '.join(f'{value:g}' for value in machine['load_before'])}"
    rows = [row for part, figures in found["parts"].items() for case in figures["cases"] for row in _rows(part, case)]
    head = ["| part | what | ordinary way | | this way | | ratio | rounds |", "|---|---|---|---|---|---|---|---|"]
    return "\n".join([f"Measured on {where} ({busy}). Ratios are medians of pairs of neighbours in time.", "", *head, *rows]) + "\n"


def _rows(part: str, case: dict[str, Any]) -> Iterator[str]:
    ordinary, *others = case["seconds"]
    for way in others:
        cells = [part, case["name"], ordinary, _speed(case, ordinary), way, _speed(case, way)]
        ratio = f"**{case['ratio_to_the_ordinary_way'][way]:.2f}**"
        yield "| " + " | ".join([*cells, ratio, str(len(case["seconds"][way]))]) + " |"


def _speed(case: dict[str, Any], way: str) -> str:
    seconds = case["median_seconds"][way]
    return f"{case['count'] / seconds:,.1f} {case['unit']}/s" if case["unit"] else f"{seconds:.3g} s"
