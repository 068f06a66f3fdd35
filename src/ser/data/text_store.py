"""Texts behind the interface of the clip store: what the training loop asks of clips, it can ask of these."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ser.data.store import ClipStore
from ser.data.tables import Voice

EMPTY = "empty_text"
"""Status of a text without a letter, digit or sign; it is never trained on as if it said nothing."""


def tidy(text: str) -> str:
    """The text in composed form (NFC: macOS decomposes Hangul), runs of blanks and line ends as one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class TextStore:
    """Texts by position: `store[3]` is the fourth.

    report: one row per text (status, detail; file_hash and audio_hash are of the text, so that runs and leaks are looked at as with audio).
    frames: int64 (n,), letters per text, 0 where it is empty. usable: bool (n,).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(map(tidy, texts))
        self.frames = np.array([len(text) for text in self.texts], np.int64)
        self.usable = self.frames > 0
        self.voices: Sequence[Voice] | None = None
        hashes = [text_hash(text) for text in self.texts]
        status = np.where(self.usable, "ok", EMPTY).astype(object), np.where(self.usable, "", "no text").astype(object)
        self.report = pd.DataFrame({"status": status[0], "detail": status[1], "file_hash": hashes, "audio_hash": hashes})

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> str:
        return self.texts[row]

    def take(self, rows: np.ndarray | Sequence[int]) -> TextStore:
        """The texts of the given rows (positions, or a boolean array), in the given order."""
        return TextStore([self.texts[row] for row in np.arange(len(self))[rows]])

    def longest(self, rows: np.ndarray) -> str:
        """The length of the longest of these texts, for a message."""
        return f"{self.frames[rows].max()} letters"


class Utterance(NamedTuple):
    """What was said, and how: the wave (T,) float32 at 16 kHz, and the words, "" where they are unknown."""

    wave: np.ndarray
    text: str


class UtteranceStore:
    """Clips with their transcripts: `store[3]` is the fourth as an Utterance. A clip without a transcript can be used, by its audio."""

    def __init__(self, clips: ClipStore, texts: TextStore) -> None:
        self.clips, self.texts = clips, texts
        self.frames, self.usable = clips.frames, clips.usable
        self.voices: Sequence[Voice] | None = None
        hashes = zip(clips.report["audio_hash"], texts.report["audio_hash"], strict=True)
        self.report = clips.report.assign(audio_hash=[f"{audio}{text}" if audio else "" for audio, text in hashes])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> Utterance:
        return Utterance(self.clips[row], self.texts[row])

    def take(self, rows: np.ndarray | Sequence[int]) -> UtteranceStore:
        """The clips of the given rows (positions, or a boolean array), in the given order."""
        return UtteranceStore(self.clips.take(rows), self.texts.take(rows))

    def longest(self, rows: np.ndarray) -> str:
        """The length of the longest of these clips, for a message."""
        return self.clips.longest(rows)


def text_hash(text: str) -> str:
    """128-bit hash of a text, "" for an empty one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if text else ""
