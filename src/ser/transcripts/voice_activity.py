"""Where somebody speaks: Silero VAD (Silero Team 2021, MIT), which faster-whisper carries in its package; no download.

The network sees 32 ms at a time and remembers what it heard, so a recording of any length is read in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from ser.audio import SAMPLE_RATE, to_float
from ser.runtime.errors import UserError

WINDOW = 512  # samples: 32 ms
CONTEXT = 64  # samples before each window that the network sees too
BLOCK_WINDOWS = 2000  # 64 s
SPEECH, NO_SPEECH = 0.5, 0.35  # speech begins above the one and ends below the other, Silero's defaults
BEGINNING = 0.2  # what stands before it and above this is its beginning: of the shouted, the whispered and the very soft
SILENCE = 0.4  # seconds without speech that end a span, and seconds kept on both sides of it, where nothing else is asked for
SHORTEST = 0.25  # seconds; what is shorter is a click
PADDING = 0.1


def check_installed() -> None:
    """Raises UserError where faster-whisper isn't installed."""
    if find_spec("faster_whisper") is None:
        raise UserError(
            "speech to text and voice activity detection need faster-whisper, which isn't installed: "
            "pip install -r requirements-speech.txt. Without it give a transcript: --transcript FILE."
        )


def speech_spans(samples: np.ndarray, longest: float = 30.0, silence: float = SILENCE, padding: float = PADDING) -> list[tuple[int, int]]:
    """Where there is speech in int16 samples (T,) at 16 kHz: (start, end) in samples, in order, without overlaps.

    Spans longer than `longest` seconds are parted where speech is least probable. silence: seconds without speech that end a span;
    padding: seconds kept on both sides. The samples may be a memory map.
    """
    probabilities = speech_probabilities(samples)
    spans = []
    for start, end in _spoken(probabilities, silence):
        spans += _part(probabilities, start, end, max(2, round(longest * SAMPLE_RATE / WINDOW)))
    tight = [(start * WINDOW, min(end * WINDOW, len(samples))) for start, end in spans]
    return padded(tight, round(padding * SAMPLE_RATE), len(samples))


def speech_probabilities(samples: np.ndarray) -> np.ndarray:
    """Probability of speech in each window of 32 ms, float32 (ceil(T / 512),)."""
    check_installed()
    from faster_whisper.vad import get_vad_model

    session = get_vad_model().session
    hidden = cell = np.zeros((1, 1, 128), np.float32)
    before = np.zeros((1, CONTEXT), np.float32)
    probabilities = [np.zeros(0, np.float32)]
    for start in range(0, len(samples), BLOCK_WINDOWS * WINDOW):
        wave = to_float(np.asarray(samples[start : start + BLOCK_WINDOWS * WINDOW]))
        windows = np.pad(wave, (0, -len(wave) % WINDOW)).reshape(-1, WINDOW)
        context = np.concatenate([before, windows[:-1, -CONTEXT:]])
        heard, hidden, cell = session.run(None, {"input": np.concatenate([context, windows], axis=1), "h": hidden, "c": cell})
        before = windows[-1:, -CONTEXT:]
        probabilities.append(heard.ravel())
    return np.concatenate(probabilities)


def _spoken(probabilities: np.ndarray, silence: float) -> list[tuple[int, int]]:
    """(start, end) in windows: from above SPEECH until it stays below NO_SPEECH for `silence` seconds, with its beginning."""
    spans, start, quiet_since = [], None, None
    patience = math.ceil(silence * SAMPLE_RATE / WINDOW)
    for place, probability in enumerate(probabilities.tolist()):
        if probability >= SPEECH:
            start, quiet_since = (place if start is None else start), None
        elif start is not None and (quiet_since is not None or probability < NO_SPEECH):
            quiet_since = place if quiet_since is None else quiet_since
            if place - quiet_since >= patience:
                spans.append((start, quiet_since))
                start = quiet_since = None
    if start is not None:
        spans.append((start, len(probabilities) if quiet_since is None else quiet_since))
    sure = [(start, end) for start, end in spans if (end - start) * WINDOW >= SHORTEST * SAMPLE_RATE]
    free = [0, *(end + patience for _, end in sure)]
    return [(_beginning(probabilities, start, after), end) for (start, end), after in zip(sure, free, strict=False)]


def _beginning(probabilities: np.ndarray, place: int, free: int) -> int:
    """Where speech that is surely heard from `place` on has begun; not before `free`: the pause before it stays one."""
    while place > free and probabilities[place - 1] >= BEGINNING:
        place -= 1
    return place


def _part(probabilities: np.ndarray, start: int, end: int, longest: int) -> list[tuple[int, int]]:
    parts = []
    while end - start > longest:
        # Not before the middle, so that parts don't become crumbs.
        half = start + longest // 2
        cut = half + int(probabilities[half : start + longest].argmin())
        parts.append((start, cut))
        start = cut
    return [*parts, (start, end)]


def padded(spans: Sequence[tuple[int, int]], padding: int, length: int) -> list[tuple[int, int]]:
    """Spans of a recording of `length` samples, each widened, at most to the middle of the gap to its neighbour."""
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), length]
    return [
        (
            start - min(padding, (start - before) // (2 if place else 1)),
            end + min(padding, (after - end) // (2 if place < len(spans) - 1 else 1)),
        )
        for place, ((start, end), before, after) in enumerate(zip(spans, ends[:-1], starts[1:], strict=True))
    ]
