"""One clip with all that is known of it: what goes through store, augmentation, frontend and model together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EMPTY = "empty_text"
"""Status of a text without a letter, digit or sign; it is never trained on as if it said nothing."""
SILENCE = np.zeros(0, np.float32)


class Utterance(NamedTuple):
    """samples: float32 (T,) at 16 kHz in [-1, 1), none of what is only written. text: the words, "" where they are unknown.

    speaker and gender (female or male) where they are known.
    """

    samples: np.ndarray = SILENCE
    text: str = ""
    speaker: str | None = None
    gender: str | None = None
    id: str = ""
