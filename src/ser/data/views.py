"""Views of a clip for test-time augmentation: the same speech a little faster, louder or later, or another stretch of a long recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from ser.audio import SAMPLE_RATE
from ser.data.augmentation import MIN_SAMPLES
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.runtime.errors import UserError

ALLOWED = {"speed": (0.67, 1.5), "gain": (-40.0, 40.0), "shift": (-0.5, 0.5), "crops": (2, 20)}
AS_IT_IS = {"speed": 1.0, "gain": 0.0, "shift": 0.0}
"""Values that leave a clip as it is, which is heard beside the views in any case."""
USAGE = (
    "allowed are speed:F (tempo and pitch, 0.67 to 1.5), gain:DB (-40 to 40), shift:SHARE (of the clip's length, -0.5 to 0.5, what falls "
    "off is silence), crops:N (2 to 20 stretches of clips longer than the model hears at once), with commas between, "
    "e.g. speed:0.95,speed:1.05,gain:-6"
)


def _moved(heard: np.ndarray, steps: int) -> np.ndarray:
    """Later (or, below 0, earlier), with silence where nothing is left."""
    if steps >= 0:
        return np.concatenate([np.zeros(steps, heard.dtype), heard[: len(heard) - steps]])
    return np.concatenate([heard[-steps:], np.zeros(-steps, heard.dtype)])


@dataclass(frozen=True)
class View:
    """kind: of ALLOWED. value: how much; of crops which one, as a share of the way from the first stretch (0) to the last (1)."""

    kind: str
    value: float

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:g}"

    def length(self, frames: int, most: int) -> int:
        """Samples of the view of a clip of so many, of which a model hears `most` at once."""
        if self.kind == "speed":
            return max(MIN_SAMPLES, min(most, round(frames / self.value)))
        return min(frames, most)

    def of(self, samples: np.ndarray, most: int) -> np.ndarray:
        """int16 (T,) -> int16, as long as `length` says."""
        if self.kind == "crops":
            return samples[round(self.value * max(0, len(samples) - most)) :][:most]
        heard = samples[:most].astype(np.float32)
        if self.kind == "speed":
            # A little more is taken, as what is faster is shorter.
            heard = soxr.resample(samples[: round(most * self.value)].astype(np.float32), SAMPLE_RATE * self.value, SAMPLE_RATE, "HQ")
        elif self.kind == "gain":
            heard = heard * 10 ** (self.value / 20)
        elif self.kind == "shift":
            heard = _moved(heard, round(self.value * len(heard)))
        length = self.length(len(samples), most)
        heard = np.pad(heard, (0, max(0, length - len(heard))))[:length]
        return np.clip(np.rint(heard), -32768, 32767).astype(np.int16)

    def changes(self, frames: np.ndarray, most: int) -> np.ndarray:
        """(n,) bool: which clips of these lengths are another clip in this view."""
        return frames > most if self.kind == "crops" else frames > 0


PLAIN = View("crops", 0.0)
"""The clip as it is heard without views: its first stretch."""


def read_views(text: str | None) -> list[View]:
    """The views that `--predict.views` names, besides the clip as it is. Raises UserError."""
    views = []
    for word in (text or "").replace(" ", "").strip("[]").split(","):
        if not word:
            continue
        kind, _, value = word.partition(":")
        try:
            number = float(value)
        except ValueError:
            number = np.nan
        low, high = ALLOWED.get(kind, (np.nan, np.nan))
        if not low <= number <= high or (kind == "crops" and number != int(number)):
            raise UserError(f"--predict.views: given {word}; {USAGE}.")
        if number == AS_IT_IS.get(kind):
            raise UserError(
                f"--predict.views: given {word}, which is the clip as it is. That is heard anyway, so it would count twice: take it out; "
                f"{USAGE}."
            )
        views += [View("crops", step / (number - 1)) for step in range(1, int(number))] if kind == "crops" else [View(kind, number)]
    if again := next((view for view in views if views.count(view) > 1), None):
        what = "the same stretch of a clip" if again.kind == "crops" else str(again)
        raise UserError(f"--predict.views: given {text}; {what} is there twice, which would double its weight. Name it once.")
    return views


def needed_seconds(views: Sequence[View], max_seconds: float) -> float:
    """How much of a clip has to be decoded: for crops so much that the stretches lie side by side."""
    crops = sum(view.kind == "crops" for view in views)
    return max_seconds * (crops + 1)


class ViewedClips(ClipStore):
    """The clips of a store in one view, made when they are asked for."""

    def __init__(self, clips: ClipStore, view: View, max_seconds: float) -> None:
        most = round(max_seconds * SAMPLE_RATE)
        report = clips.report.assign(audio_hash=[f"{name} {view} {most}" if name else "" for name in clips.report["audio_hash"]])
        super().__init__(clips.audio, report, clips.offsets, clips.frames)
        self.frames = np.array([view.length(int(frames), most) if frames else 0 for frames in clips.frames], np.int64)
        self.clips, self.view, self.most, self._kept = clips, view, most, clips._kept  # the hashes tell views apart

    def take(self, rows: np.ndarray | Sequence[int]) -> ViewedClips:
        """The clips of the given rows, in the same view."""
        return ViewedClips(self.clips.take(rows), self.view, self.most / SAMPLE_RATE)

    def samples(self, row: int) -> np.ndarray:
        """The view of the clip as int16."""
        return self.view.of(self.clips.samples(row), self.most)


def view_of(store: Store, view: View, max_seconds: float) -> Store:
    """The store of clips (of which a model hears max_seconds at once) in one view. Raises UserError for texts, which have none."""
    if store.clips is None:
        raise UserError("--predict.views: this model reads texts, of which there are no views. Leave it out.")
    return Store(store.table, ViewedClips(store.clips, view, max_seconds), store.reads)
