"""What a page is about: predictions of labelled clips, beside what is known of the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser.audio import decode, to_float
from ser.config import DataConfig, load_config
from ser.data.store import ClipStore
from ser.data.tables import Table, read_dataset
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.runtime.progress import say

Wave = Callable[[str], np.ndarray | None]
"""id -> float32 (T,) at 16 kHz, None where the file can't be read any more."""


@dataclass(frozen=True, eq=False)
class ClipFacts:
    """What is known of clips, apart from their labels.

    table: one row per clip, indexed by id; of the columns seconds, loudness (dB), speaker, gender and text those that are known.
    wave: the sound of a clip by id; None for texts.
    """

    table: pd.DataFrame
    wave: Wave | None = None

    def of(self, ids: Sequence[str]) -> pd.DataFrame:
        """The rows of these ids, in their order; ids that nothing is known of get empty rows."""
        return self.table.reindex(list(ids))


NOTHING_KNOWN = ClipFacts(pd.DataFrame())


def clip_facts(table: Table, data: DataConfig, report: pd.DataFrame | None = None) -> ClipFacts:
    """Facts of a table's clips, whose files are decoded when somebody wants to hear them.

    report: the clip store's, row by row as the table, where the clips were decoded already: its seconds and rms_db are taken.
    """
    known: dict[str, object] = {}
    if report is not None and "rms_db" in report:
        known |= {"seconds": report["seconds"].to_numpy(), "loudness": report["rms_db"].to_numpy()}
    for name, values in (("speaker", table.speakers), ("gender", table.genders), ("text", table.texts)):
        if values is not None and any(values):
            known[name] = list(values)
    path_of = dict(zip(table.ids, table.paths, strict=True)) if table.paths else {}

    def wave(name: str) -> np.ndarray | None:
        if name not in path_of:
            return None
        clip = decode(path_of[name], max_seconds=data.max_seconds)
        return to_float(clip.samples) if clip.usable else None

    return ClipFacts(pd.DataFrame(known, index=pd.Index(table.ids, name="id")), wave if path_of else None)


@dataclass(frozen=True, eq=False)
class Judged:
    """N labelled clips and what a model said of them: labels (N,), probabilities (N, C), facts with one row per clip."""

    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    label_names: tuple[str, ...]
    facts: pd.DataFrame = field(default_factory=pd.DataFrame)
    wave: Wave | None = None

    @property
    def answers(self) -> np.ndarray:
        """(N,) the likeliest label of each clip."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) the probability of the answer."""
        return self.probabilities.max(axis=1)

    @property
    def speakers(self) -> list[str] | None:
        """Who speaks in each clip, where that is known of all."""
        names = self.fact("speaker")
        return None if names is None or names.isna().any() else [str(name) for name in names]

    def fact(self, name: str) -> pd.Series | None:
        """One column of the facts, None where it isn't known."""
        return self.facts.get(name)


def run_facts(folder: str | Path, root: str | None = None, cache: str | None = None) -> ClipFacts:
    """What the data of a run says of its training clips; nothing, and a warning, where `open_run_facts` refuses."""
    try:
        return open_run_facts(folder, root, cache)
    except (UserError, OSError) as error:
        say(f"warning: {folder}: its clips can't be heard, and nothing is known of them: {error}")
        return NOTHING_KNOWN


def open_run_facts(folder: str | Path, root: str | None = None, cache: str | None = None) -> ClipFacts:
    """What the data of a run says of its training clips. Clips that aren't in the cache are decoded; of lost files there is no sound.

    root, cache: in place of those in the run's config.yaml, e.g. where the data was moved. Raises UserError where the data has gone, or
    where other clips are in its place.
    """
    data = load_config(Path(folder) / "config.yaml").data
    data = replace(data, root=root or data.root, cache=cache or data.cache)
    table = read_dataset(data).train
    report = ClipStore.open(table.paths, data, "training clips").report if table.paths else None
    if report is not None and (others := _other_clips(folder, table, report)):
        raise UserError(f"{data.root} holds other clips, e.g. {others[0]}.")
    return clip_facts(table, data, report)


def _other_clips(folder: str | Path, table: Table, report: pd.DataFrame) -> list[str]:
    """Ids of a run's clips that a table lacks, or that are other files there: every competition counts from TRAIN_0000."""
    bytes_of = dict(zip(table.ids, report["file_hash"], strict=True))  # empty where there is no file

    def is_another(clip: dict) -> bool:
        found = bytes_of.get(clip["id"])
        return found is None or (found != "" and clip.get("file_hash", found) != found)

    return [clip["id"] for clip in read_json(Path(folder) / "data.json")["train"] if is_another(clip)]
