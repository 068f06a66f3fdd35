"""Overlapping windows over a long recording, each predicted like a clip; read block by block, so that its length costs no memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser.audio import SAMPLE_RATE
from ser.audio.status import SILENCE_DB, levels
from ser.audio.stream import AudioStream
from ser.data.labels import display_korean
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv
from ser.runtime.progress import ProgressBar
from ser.timeline.picture import plot_timeline

if TYPE_CHECKING:
    from ser.inference.prediction import Predictor

WINDOW_SECONDS = 5.0
LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class Timeline:
    """The emotions of one recording.

    windows: one row each, in time order: start and end (seconds), status (ok or silent), predicted_emotion, predicted_emotion_ko,
    confidence, and p_<label> per label; a silent window has no emotion. seconds: how much of the recording was heard.
    status: ok, or what is wrong with the file (missing, undecodable, truncated, non_finite, out_of_scale, incomplete, too_short);
    windows then cover what could be read. detail says more. track: which of several audio tracks was heard, else "".
    """

    path: str
    status: str
    detail: str
    seconds: float
    windows: pd.DataFrame
    track: str = ""

    @property
    def shares(self) -> dict[str, float]:
        """Share of each emotion among the windows that have one, the commonest first."""
        counts = Counter(self.windows["predicted_emotion"].dropna())
        return {name: count / counts.total() for name, count in counts.most_common()}


def predict_timeline(
    predictor: Predictor,
    path: str | Path,
    window: float | None = None,
    step: float | None = None,
    audio_track: int | None = None,
) -> Timeline:
    """Predict a recording of any length by windows of `window` seconds, one every `step` seconds; the last one ends with the recording.

    window: default 5 s, or what the model hears at once if that is less. step: default half the window. audio_track: which of several
    to hear, from 1; default the one a player starts with. Memory is bounded by one batch of windows. Raises UserError for an
    impossible window or step, and for a model that compares clips with each other.
    """
    window, step = checked_window(predictor, window, step)
    stream = AudioStream(path, audio_track)
    rows: list[dict] = []
    heard = 0
    with ProgressBar(what=Path(path).name, unit="s") as bar:
        for batch in _batches(cut_windows(stream, window, step), predictor.batch_size):
            rows += predict_windows(predictor, batch)
            heard = batch[-1][0] + len(batch[-1][1])
            bar.total = None if stream.seconds is None else round(stream.seconds)
            bar.update(round(heard / SAMPLE_RATE) - bar.n)
    columns = ["start", "end", "status", "predicted_emotion", "predicted_emotion_ko", "confidence"]
    table = pd.DataFrame(rows, columns=[*columns, *(f"p_{name}" for name in predictor.label_names)])
    status, detail = stream.status, stream.detail
    if status == "ok" and not rows:
        status, detail = "too_short", f"less than {LEAST_SECONDS:g} s of sound"
    return Timeline(str(path), status, detail, heard / SAMPLE_RATE, table, stream.track)


def checked_window(predictor: Predictor, window: float | None, step: float | None) -> tuple[float, float]:
    """Window and step in seconds, with their defaults. Raises UserError."""
    if predictor.takes != "audio":
        raise UserError(
            f"{predictor.model} is a {predictor.kind} model, which takes {predictor.takes}; a timeline has no words: give a model of audio."
        )
    if predictor.compares_clips:
        raise UserError(
            f"{predictor.model} finds the voices among all clips it is given together; "
            "a timeline needs a model that judges each window alone."
        )
    longest = predictor.max_seconds
    window = min(WINDOW_SECONDS, longest) if window is None else window
    step = window / 2 if step is None else step
    if not LEAST_SECONDS <= window <= longest:
        raise UserError(f"window: given {window:g} s; allowed are {LEAST_SECONDS:g} to {longest:g} s, which the model hears at once.")
    if not LEAST_SECONDS <= step <= window:
        raise UserError(
            f"step: given {step:g} s; allowed are {LEAST_SECONDS:g} s to the window's {window:g} s, so that nothing is left out."
        )
    return window, step


def cut_windows(blocks: Iterable[np.ndarray], window: float, step: float) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, int16 samples) of windows over blocks of int16 at 16 kHz, holding no more than a window and a block.

    All are of equal length, the last one ending with the recording; only a recording shorter than a window gives a shorter one, and
    one under 0.1 s none.
    """
    length, hop = round(window * SAMPLE_RATE), round(step * SAMPLE_RATE)
    held, first, next_start = np.zeros(0, np.int16), 0, 0
    for block in blocks:
        held = np.concatenate([held, block])
        while first + len(held) >= next_start + length:
            yield next_start, held[next_start - first : next_start - first + length].copy()
            next_start += hop
        # The last window may have to begin before the next one would.
        keep = max(0, len(held) - length)
        held, first = held[keep:], first + keep
    end = first + len(held)
    covered = next_start - hop + length if next_start else 0
    if end > covered and len(held) >= LEAST_SECONDS * SAMPLE_RATE:
        yield first, held


def _batches(windows: Iterable[tuple[int, np.ndarray]], size: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    waiting: deque[tuple[int, np.ndarray]] = deque()
    for item in windows:
        waiting.append(item)
        if len(waiting) == size:
            yield list(waiting)
            waiting.clear()
    if waiting:
        yield list(waiting)


def predict_windows(predictor: Predictor, batch: Sequence[tuple[int, np.ndarray]]) -> list[dict]:
    """The rows of `Timeline.windows` for (first sample, int16 samples) of a few windows."""
    spoken = [place for place, (_, samples) in enumerate(batch) if levels(samples)[0] >= SILENCE_DB]
    probabilities = predictor.probabilities([batch[place][1] for place in spoken]) if spoken else ()
    rows = [
        {"start": start / SAMPLE_RATE, "end": (start + len(samples)) / SAMPLE_RATE, "status": "silent", "predicted_emotion": None}
        for start, samples in batch
    ]
    for place, of_window in zip(spoken, probabilities, strict=True):
        best = int(of_window.argmax())
        name = predictor.label_names[best]
        rows[place] |= {"status": "ok", "predicted_emotion": name, "predicted_emotion_ko": display_korean(name)}
        rows[place] |= {"confidence": of_window[best]} | {
            f"p_{label}": p for label, p in zip(predictor.label_names, of_window, strict=True)
        }
    return rows


def write_timeline(timeline: Timeline, path: str | Path) -> list[Path]:
    """Write the windows as a CSV, and the picture with the same name beside it; returns both paths. Raises UserError."""
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise UserError(f"--output: given {path}; the ending must be .csv (the picture gets .png).")
    picture = path.with_suffix(".png")
    write_csv(path, timeline.windows)
    plot_timeline(timeline.windows, picture, Path(timeline.path).name)
    return [path, picture]
