"""Who speaks in each clip, and in what kind of voice: a CSV `id,speaker,gender`, or the table's own column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ser.data.csv_input import CsvInput, check_ids, count, is_missing, read_csv_input, shown
from ser.runtime.errors import UserError

SPEAKERS = "train_speakers.csv"
"""The file in a data folder that says who speaks in its training clips."""
GENDERS = {"female": ("female", "f", "여성", "여"), "male": ("male", "m", "남성", "남")}


def read_speakers(path: Path, ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str | None, ...] | None]:
    """The speaker of each of `ids`, and its gender (female, male, or None) where the CSV has that column. Raises UserError."""
    speaker_of, gender_of = _read(path)
    if unknown := [name for name in ids if name not in speaker_of]:
        spare = [name for name in speaker_of if name not in set(ids)]
        beside = f"Its ids are like {shown(spare)}" if spare else f"It has no ids but those of {count([*speaker_of], 'other clip')}"
        raise UserError(
            f"{path}: no speaker for {count(unknown, 'training clip')}: {shown(unknown)}. {beside}. Every training clip needs one."
        )
    if empty := [name for name in ids if is_missing(speaker_of[name])]:
        raise UserError(f"{path}: no speaker for {count(empty, 'training clip')}: {shown(empty)}. Every training clip needs one.")
    genders = tuple(gender_of[name] for name in ids) if gender_of else None
    return tuple(speaker_of[name] for name in ids), genders


def known_speakers(path: Path, ids: Sequence[str]) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """Like `read_speakers`, with None for clips that aren't in the CSV. Raises UserError where it has none of them."""
    speaker_of, gender_of = _read(path)
    if not speaker_of.keys() & set(ids):
        raise UserError(f"data.speakers: {path} has the ids {shown(speaker_of)}, the clips {shown(ids)}: not one is the same.")
    return tuple(speaker_of.get(name) for name in ids), tuple((gender_of or {}).get(name) for name in ids)


def knows_any(path: Path, ids: Sequence[str]) -> bool:
    """Whether there is such a CSV, and it has one of these clips."""
    return path.is_file() and not set(read_csv_input(path).required("id")).isdisjoint(ids)


def _read(path: Path) -> tuple[dict[str, str], dict[str, str | None] | None]:
    source = read_csv_input(path)
    ids = source.required("id")
    check_ids(ids, source)
    genders = source.column("gender")
    speaker_of = dict(zip(ids, source.required("speaker"), strict=True))
    return speaker_of, genders and {name: _gender(cell, path) for name, cell in zip(ids, genders, strict=True)}


def _gender(cell: str, path: Path) -> str | None:
    if is_missing(cell):
        return None
    for gender, names in GENDERS.items():
        if cell.strip().casefold() in names:
            return gender
    known = [name for names in GENDERS.values() for name in names]
    raise UserError(f"{path}: gender {shown([cell])}; allowed are {shown(known, len(known))}, or an empty cell.")


def speaker_column(source: CsvInput, ids: Sequence[str]) -> tuple[str, ...] | None:
    speakers = source.column("speaker")
    if speakers is None or all(map(is_missing, speakers)):
        return None
    without = [name for name, speaker in zip(ids, speakers, strict=True) if is_missing(speaker)]
    if without:
        raise UserError(
            f"{source.path}: no speaker for {count(without, 'clip')}: {shown(without)}. "
            "Fill in the column `speaker`, or leave it out altogether."
        )
    return speakers
