"""The clips of a table as a model takes them: their audio, their text, or both, and always with their voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ser.config import DataConfig
from ser.data.hashes import text_hash
from ser.data.store import ClipStore
from ser.data.tables import Table
from ser.data.text_input import tidy
from ser.data.utterance import EMPTY, SILENCE, Utterance
from ser.runtime.errors import UserError
from ser.runtime.progress import say

Input = Literal["audio", "text", "audio and text"]


class Store:
    """The clips of a table by position: `store[3]` is the fourth as an Utterance.

    report: a row per clip (status, detail, file_hash and audio_hash; of texts both are the text's, of audio and text the audio_hash is of
    both). frames: int64 (n,), samples or letters per clip, 0 where unusable. usable: bool (n,); a clip whose words are lacking can be used,
    by its audio. clips: the audio, None where only texts are taken.
    """

    def __init__(self, table: Table, clips: ClipStore | None, reads: bool) -> None:
        self.table, self.clips, self.reads = table, clips, reads
        self.texts = tuple(map(tidy, table.texts)) if reads else ("",) * len(table)
        if clips is None:
            self.frames = np.array([len(text) for text in self.texts], np.int64)
            self.report = _report_of_texts(self.texts)
        else:
            self.frames, self.report = clips.frames, clips.report
            if reads:
                hashes = zip(self.report["audio_hash"], map(text_hash, self.texts), strict=True)
                self.report = self.report.assign(audio_hash=[f"{audio}{text}" if audio else "" for audio, text in hashes])
        self.usable = self.frames > 0 if clips is None else clips.usable

    @classmethod
    def of_samples(
        cls,
        samples: Sequence[np.ndarray],
        speakers: Sequence[str | None] | None = None,
        genders: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
    ) -> Store:
        """Clips in memory: int16 (T,) at 16 kHz each, with their voices where they are known, and their words where the model reads."""
        return cls.of_clips(ClipStore.of_samples(samples), speakers, genders, texts)

    @classmethod
    def of_clips(
        cls,
        clips: ClipStore,
        speakers: Sequence[str | None] | None = None,
        genders: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
    ) -> Store:
        """Clips without a table, with their voices where they are known, and their words where the model reads."""
        said = None if texts is None else tuple(texts)
        table = Table(tuple(map(str, range(len(clips)))), (), speakers=speakers, genders=genders, texts=said)
        return cls(table, clips, reads=said is not None)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Store:
        """Texts in memory."""
        return cls(Table(tuple(map(str, range(len(texts)))), (), texts=tuple(texts)), None, reads=True)

    @property
    def speakers(self) -> Sequence[str | None] | None:
        """Who speaks in each clip; None where no speaker is known."""
        return self.table.speakers

    def groups(self, rows: np.ndarray, least: int) -> list[str | None] | None:
        """What an inner cross-validation of these rows mustn't tear apart: a speaker's clips, where there are at least so many speakers,
        else a clip and its augmented copies, which have its id; None where each clip stands alone."""
        speakers = None if self.speakers is None else [self.speakers[row] for row in rows]
        if speakers is not None and len(set(speakers)) >= least:
            return speakers
        ids = [self.table.ids[row] for row in rows]
        return ids if len(set(ids)) < len(ids) else None

    @property
    def without_transcript(self) -> np.ndarray:
        """(n,) bool: which usable clips of a store of audio and text have no text; none in other stores."""
        silent = np.array([not text for text in self.texts], bool)
        return self.usable & silent if self.reads and self.clips is not None else np.zeros(len(self), bool)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Utterance:
        """The clip. Raises UnusableClip where there is no audio."""
        speaker, gender = (None if names is None else names[row] for names in (self.table.speakers, self.table.genders))
        return Utterance(SILENCE if self.clips is None else self.clips[row], self.texts[row], speaker, gender, self.table.ids[row])

    def take(self, rows: np.ndarray | Sequence[int]) -> Store:
        """The clips of the given rows (positions, or a boolean array), in the given order."""
        return Store(self.table.take(rows), None if self.clips is None else self.clips.take(rows), self.reads)

    def longest(self, rows: np.ndarray) -> str:
        """The length of the longest of these clips, for a message."""
        return f"{self.frames[rows].max()} letters" if self.clips is None else self.clips.longest(rows)


def open_store(takes: Input, table: Table, config: DataConfig, title: str = "clips") -> Store:
    """The store of a table's clips. Raises UserError where the table has no audio, or no texts, and the model needs it."""
    if takes != "text" and not table.paths and len(table):
        raise UserError("this model hears audio, but the table has no column path or file_path. Choose a text model (model.kind).")
    if takes != "audio" and table.texts is None:
        raise UserError("this model reads texts, but there are none. Give a column `text`, or a CSV `id,text` with --data.transcripts.")
    clips = None if takes == "text" else ClipStore.open(table.paths, config, title)
    store = Store(table, clips, reads=takes != "audio")
    if silent := int(store.without_transcript.sum()):
        say(f"warning: {silent} of {len(table)} {title} have no transcript; their audio alone decides.")
    return store


def cut_clips(store: Store) -> int:
    """How many clips are longer than `data.max_seconds`, so that only their beginning is heard; texts never are."""
    return sum("too_long" in text.split() for text in store.report.get("notes", ()))


def _report_of_texts(texts: Sequence[str]) -> pd.DataFrame:
    hashes = [text_hash(text) for text in texts]
    rows = [{"status": "ok", "detail": ""} if text else {"status": EMPTY, "detail": "no text"} for text in texts]
    return pd.DataFrame(rows, columns=["status", "detail"]).assign(file_hash=hashes, audio_hash=hashes)
