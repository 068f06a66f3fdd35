"""The candidates: what is known of each before it is opened."""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from ser.data.csv_input import shown
from ser.inference.answers import several_labels
from ser.inference.seed_runs import any_seed
from ser.models.base import read_card
from ser.runtime.errors import UserError
from ser.runtime.files import read_json

KINDS = ("transformers", "run", "speechbrain", "embeddings", "librosa", "opensmile")
TRAINED_HERE = ("librosa", "opensmile", "embeddings")
"""Fitted to the labelled clips, out of fold."""
LISTED_ONLY = "none"


@dataclass(frozen=True)
class Candidate:
    """One model to judge. `place` is a hub name, a folder or a file; classes as the model names them; None: not known."""

    name: str
    kind: str
    place: str = ""
    classes: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    license: str | None = None
    use: str | None = None
    note: str = ""


def ready_list() -> list[Candidate]:
    """The candidates of candidates.yaml, in its order."""
    entries = yaml.safe_load((Path(__file__).parent / "candidates.yaml").read_text(encoding="utf-8"))
    lists = ("classes", "languages")
    return [
        Candidate(**{"place": entry["name"]} | {key: tuple(value) if key in lists else value for key, value in entry.items()})
        for entry in entries
    ]


def read_candidates(words: list[str]) -> list[Candidate]:
    """Candidates from `KIND:PLACE`, `librosa`, `opensmile` or a name of the ready list. Raises UserError naming what is allowed."""
    known = {candidate.name: candidate for candidate in ready_list()}
    candidates = _told_apart([known[word] if word in known else _from_word(word, known) for word in words])
    names = [candidate.name for candidate in candidates]
    for candidate in candidates:
        if candidate.kind == "run" and not Path(candidate.place).is_dir():
            raise UserError(f"run:{candidate.place}: no such run folder; allowed is one that training made, e.g. run:outputs/X.")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"candidates named twice: {shown(repeated)}.")
    return candidates


def check_one_label(candidates: list[Candidate]) -> None:
    """Raise UserError for a run or a model folder that gives a clip several labels."""
    for candidate in candidates:
        if candidate.kind == "run":
            said = {}
            with suppress(OSError, ValueError):  # what is damaged is told where the candidate is judged
                said = read_json(any_seed(candidate.place) / "data.json")
        else:
            said = (candidate.kind == "transformers" and read_card(candidate.place)) or {}
        if isinstance(said, dict) and said.get("multi_label"):
            raise several_labels(candidate.place)


def _told_apart(candidates: list[Candidate]) -> list[Candidate]:
    """Folders of one name (X/speaker, Y/speaker) are named by as much of their path as tells them apart."""
    parts = [Path(candidate.place).parts if candidate.name == Path(candidate.place).name else () for candidate in candidates]
    named = []
    for candidate, own in zip(candidates, parts, strict=True):
        others = [other for other in parts if other and other != own]
        length = next((n for n in range(1, len(own) + 1) if all(other[-n:] != own[-n:] for other in others)), len(own))
        named.append(replace(candidate, name=Path(*own[-length:]).as_posix()) if own else candidate)
    return named


def _hint(kind: str, place: str, known: dict[str, Candidate]) -> str:
    """What may have been meant by a word: KIND:PLACE with another kind, a folder without one, or another name."""
    if place:
        near = [f"{name}:{place}" for name in difflib.get_close_matches(kind, KINDS[:4], 1, 0.6)]
    elif Path(kind).is_dir():
        near = [f"{'run' if (Path(kind) / 'data.json').is_file() else 'transformers'}:{kind}"]
    else:
        near = difflib.get_close_matches(kind, [*known, *KINDS[4:]], 1, 0.6)
    return f" Did you mean {near[0]}?" if near else ""


def _from_word(word: str, known: dict[str, Candidate]) -> Candidate:
    kind, _, place = word.partition(":")
    if kind not in KINDS or not place:
        raise UserError(
            f"candidate {word!r} is unknown.{_hint(kind, place, known)} Give {', '.join(f'{name}:PLACE' for name in KINDS[:4])}, "
            "librosa, opensmile, or a name of the ready list "
            f"({', '.join(known)})."
        )
    if place in known:  # the same model by another way, e.g. its converted weights
        return replace(known[place], kind=kind)
    return Candidate(name=Path(place).name if Path(place).exists() else place, kind=kind, place=place)
