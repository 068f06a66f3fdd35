"""What several annotators said of each clip: columns `votes_<label>` (how many) or `p_<label>` (which share) of a CSV.

A network learns from the whole distribution (`ser.train.objective`). Scores are told against the majority, the one label with most votes;
a clip without one (a tie) is trained on and not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser.data.csv_input import CsvInput, count, is_missing, shown
from ser.data.label_column import INTEGER, LABEL_COLUMNS, OWN, label_numbers, read_labels
from ser.data.labels import is_emotion
from ser.runtime.errors import UserError

PREFIXES = ("votes_", "p_")
SUM_TOLERANCE = 0.02
"""Of shares, which people round to two digits."""


@dataclass(frozen=True, eq=False)
class Votes:
    """shares: (N, C), rows sum to one. labels: (N,) the majority's, or a `label` column's; of a tie the first. clear: (N,) bool, False
    where neither says which label is right.
    """

    shares: np.ndarray
    labels: np.ndarray
    clear: np.ndarray


def vote_columns(source: CsvInput, labels: str) -> dict[str, tuple[str, ...]]:
    """The columns of votes by the label they name; {} where there are none. Raises UserError for both kinds side by side.

    labels: `data.labels`. A column p_… that names no label (p_value) is something else.
    """
    found = {prefix: [name for name in source.header if name.casefold().startswith(prefix)] for prefix in PREFIXES}
    found["p_"] = [name for name in found["p_"] if labels == OWN or name[2:].isdecimal() or is_emotion(name[2:])]
    if all(found.values()):
        raise UserError(f"{source.path}: columns {found['votes_'][0]} and {found['p_'][0]}; keep the votes or the shares.")
    return {name.split("_", 1)[1]: source.column(name.casefold()) for names in found.values() for name in names}


def read_votes(source: CsvInput, labels: str) -> tuple[Votes, tuple[str, ...]]:
    """The votes of every clip, and the label names. labels: `data.labels`.

    A column `label` (or `emotion`) says what is right where it is filled in; where it is empty, or without it, the majority does.
    Raises UserError for votes that are no numbers, a clip without any, and labels that can't be.
    """
    columns, rows = vote_columns(source, labels), [f"row {number}" for number in source.numbers]
    cells = source.column(*LABEL_COLUMNS)
    given = np.zeros(len(rows), bool) if cells is None else np.array([not is_missing(cell) for cell in cells], bool)
    numbers, names = np.zeros(len(rows), np.int64), ()
    if given.any():
        filled = np.flatnonzero(given)
        written, where = [cells[row] for row in filled], [rows[row] for row in filled]
        if not all(map(INTEGER.fullmatch, written)):  # a label that is nobody's majority has a column alone
            written, where = [*written, *columns], [*where, *columns]
        found, names = read_labels(written, labels, source.path, where)
        numbers[filled] = found[: len(filled)]
        places = label_numbers(list(columns), names, f"{source.path}: columns of votes")
    else:
        places, names = read_labels(list(columns), labels, source.path, list(columns), "column of votes")
    if len(set(places.tolist())) < len(places):
        raise UserError(f"{source.path}: two columns of votes name the same label: {shown(columns)}. Add them up.")
    counts = np.zeros((len(rows), len(names)))
    for place, cells_of_label in zip(places, columns.values(), strict=True):
        counts[:, place] = _numbers(cells_of_label, source)
    _check(counts, given, source, shares=not any(name.casefold().startswith("votes_") for name in source.header))
    counts[given & (counts.sum(axis=1) == 0), numbers[given & (counts.sum(axis=1) == 0)]] = 1.0  # nobody voted: the label stands alone
    alone = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return Votes(counts / counts.sum(axis=1, keepdims=True), np.where(given, numbers, counts.argmax(axis=1)), given | alone), names


def cross_entropy(shares: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over clips of what the probabilities (n, C) miss of the votes' shares (n, C), in nats; least where they are equal."""
    return float(-(shares * np.log(np.clip(probabilities, np.finfo(float).eps, 1))).sum(axis=1).mean())


def told_votes(shares: np.ndarray, probabilities: np.ndarray, unclear: int) -> dict:
    """What a report says of votes: n, unclear (clips without a majority among them), cross_entropy of the predictions, entropy (of the
    votes themselves, below which it can't be) and prior (of always answering the votes' mean).
    """
    mean = np.tile(shares.mean(axis=0), (len(shares), 1))
    return {
        "n": len(shares),
        "unclear": unclear,
        "cross_entropy": cross_entropy(shares, probabilities),
        "entropy": cross_entropy(shares, shares),
        "prior": cross_entropy(shares, mean),
    }


def describe_votes(told: dict) -> str:
    """`told_votes` as one line."""
    return (
        f"cross-entropy to the annotators' votes {told['cross_entropy']:.3f} nats over {told['n']} clips (the votes' own entropy, the "
        f"least there can be, {told['entropy']:.3f}; always answering their mean {told['prior']:.3f}); {told['unclear']} of these clips "
        "have no majority and are in no other score"
    )


def _numbers(cells: Sequence[str], source: CsvInput) -> np.ndarray:
    try:
        values = np.array([0.0 if is_missing(cell) else float(cell) for cell in cells])
    except ValueError as error:
        raise UserError(f"{source.path}: a vote isn't a number ({error}). Allowed are numbers from 0, or nothing.") from None
    if wrong := source.rows_where(~np.isfinite(values) | (values < 0)):
        raise UserError(f"{source.path}: votes below 0 or without an end in {shown(wrong)}. Allowed are numbers from 0, or nothing.")
    return values


def _check(counts: np.ndarray, given: np.ndarray, source: CsvInput, shares: bool) -> None:
    totals = counts.sum(axis=1)
    if wrong := source.rows_where((totals == 0) & ~given):
        raise UserError(f"{source.path}: {count(wrong, 'row')} with neither a label nor a vote: {shown(wrong)}. Take them out.")
    if shares and (wrong := source.rows_where((totals > 0) & (np.abs(totals - 1) > SUM_TOLERANCE))):
        raise UserError(f"{source.path}: the shares p_<label> don't sum to one in {shown(wrong)}. Counts belong into votes_<label>.")
