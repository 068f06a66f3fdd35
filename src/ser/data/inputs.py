"""What a model takes of a clip (its audio, its text, or both), and the store that gives it out."""

from __future__ import annotations

from typing import Literal

import numpy as np
from tqdm import tqdm

from ser.config import DataConfig
from ser.data.store import ClipStore
from ser.data.tables import Table
from ser.data.text_store import TextStore, UtteranceStore
from ser.runtime.errors import UserError

Input = Literal["audio", "text", "audio and text"]
Store = ClipStore | TextStore | UtteranceStore
"""Stores have one interface: report (with status and audio_hash), frames (length), usable, voices, len, [row], take, longest."""


def open_store(what: Input, table: Table, config: DataConfig, title: str = "clips") -> Store:
    """The store of a table's clips. Raises UserError where the table has no audio, or no texts, and the model needs it."""
    if what != "text" and not table.paths and len(table):
        raise UserError("this model hears audio, but the table has no column path or file_path. Choose a text model (model.kind).")
    if what != "audio" and table.texts is None:
        raise UserError("this model reads texts, but there are none. Give a column `text`, or a CSV `id,text` with --data.transcripts.")
    if what == "text":
        return TextStore(table.texts)
    clips = ClipStore.open(table.paths, config, title)
    if what == "audio":
        return clips
    texts = TextStore(table.texts)
    if silent := int((~texts.usable & clips.usable).sum()):
        tqdm.write(f"warning: {silent} of {len(table)} {title} have no transcript; their audio alone decides.")
    return UtteranceStore(clips, texts)


def without_transcript(store: Store) -> np.ndarray:
    """(n,) bool: which usable clips of a store of audio and text have no text; none in other stores."""
    if not isinstance(store, UtteranceStore):
        return np.zeros(len(store), bool)
    return store.usable & ~store.texts.usable
