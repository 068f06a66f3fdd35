"""The status of a file, in one word: whether it can be used (what is silent, too short, cut off), and what was noticed
about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.audio.recording import SAMPLE_RATE, Recording, to_float
from ser.audio.source import Source

# From the most severe to none. The status of a file is the first that applies.
STATUSES = (
    "missing",
    "undecodable",
    "truncated",
    "non_finite",
    "out_of_scale",
    "too_short",
    "silent",
    "incomplete",
    "clipped",
    "too_long",
    "downmixed",
    "resampled",
    "ok",
)
UNUSABLE = frozenset({"missing", "undecodable", "truncated", "non_finite", "out_of_scale", "too_short", "silent"})
# Peak after removing the mean. The room noise of an ordinary recording lies above it, and the quietest of RAVDESS's
# acted clips peaks at -44 dBFS: below -60 dBFS (33 steps of a 16-bit sample) there is no speech to hear.
SILENCE_DB = -60.0
FLOOR_DB = -120.0
# Floats so far beyond full scale are integers written as floats (16 bits: up to 32768); hot recordings reach 4.
LARGEST_PEAK = 16.0


@dataclass(frozen=True)
class Clip:
    """A decoded file.

    samples: int16 (T,) mono at 16 kHz, None where the file is unusable (it is never replaced by zeros).
    status: one of STATUSES; notes: every status that applies besides ok, and wrong_extension or several_tracks.
    seconds: length of the whole file, before cutting; 0 where unknown. peak_db, rms_db: dBFS of the kept part.
    """

    samples: np.ndarray | None
    status: str
    notes: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0
    source_rate: int = 0
    source_channels: int = 0
    peak_db: float = float("nan")
    rms_db: float = float("nan")

    @property
    def usable(self) -> bool:
        """Whether it may be trained on."""
        return self.status not in UNUSABLE


def judge(recording: Recording, source: Source, found: Findings, min_seconds: float, max_seconds: float) -> Clip:
    samples = recording.samples()
    rates, channels = zip(*recording.layouts, strict=True)
    known = recording.ended or recording.total_seconds is None
    seconds = recording.seconds if known else recording.total_seconds
    if recording.lacking or (source.missing and recording.ended):
        found.add("truncated", recording.lacking or f"{seconds:.1f} s can be decoded")
    if recording.damaged and not found.has("truncated"):
        found.add("undecodable", recording.damaged)
    for reason in filter(None, (source.left if recording.ended else "", recording.skipped)):
        found.add("incomplete", reason)
    if recording.track:
        found.add("several_tracks", recording.track)
    if recording.non_finite:
        found.add("non_finite", f"{recording.non_finite:,} samples are NaN or infinite")
    if recording.clipped_runs:
        found.add("clipped", f"{recording.clipped_runs:,} runs of samples at full scale")
    if max(channels) > 1:
        found.add("downmixed", f"{_in_turn(channels)} channels")
    if set(rates) != {SAMPLE_RATE}:
        found.add("resampled", f"{_in_turn(rates)} Hz")
    if recording.peak > LARGEST_PEAK:
        found.add("out_of_scale", f"samples reach {recording.peak:,.0f} times full scale: integers written as floats? Divide them first")
    if seconds > max_seconds:
        length = f"{seconds:.1f} s" if recording.ended or recording.total_seconds else "longer"
        found.add("too_long", f"{length}, cut to {max_seconds:g} s")
    if len(samples) < min_seconds * SAMPLE_RATE:
        found.add("too_short", f"{len(samples) / SAMPLE_RATE * 1000:.0f} ms" if len(samples) else "no samples")
    peak_db, rms_db = levels(samples)
    if len(samples) and peak_db < SILENCE_DB:
        found.add("silent", f"the peak is {peak_db:.0f} dBFS{_cancelled(recording, peak_db)}")
    return found.clip(samples, seconds, rates[0], channels[0], peak_db, rms_db)


def _in_turn(values: tuple[int, ...]) -> str:
    """A file may change its rate or channels: "44100, then 48000"."""
    return ", then ".join(str(value) for number, value in enumerate(values) if not number or value != values[number - 1])


def _cancelled(recording: Recording, peak_db: float) -> str:
    """Say so when the channels aren't silent and their mean is: one of them is the other upside down."""
    if recording.layouts[0][1] > 1 and _db(recording.peak) >= max(SILENCE_DB, peak_db + 20):
        return f", although a channel reaches {_db(recording.peak):.0f} dBFS: the channels cancel each other out (anti-phase)"
    return ""


def levels(samples: np.ndarray) -> tuple[float, float]:
    """Peak and RMS of int16 samples in dBFS, without their mean (a constant offset can't be heard); at least -120."""
    if not len(samples):
        return FLOOR_DB, FLOOR_DB
    wave = to_float(samples)
    wave -= wave.mean()
    return _db(float(np.abs(wave).max())), _db(float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))))


def _db(amplitude: float) -> float:
    return 20 * float(np.log10(amplitude)) if amplitude > 1e-6 else FLOOR_DB


class Findings:
    """What was found about one file, in the order it was found."""

    def __init__(self) -> None:
        self.details: dict[str, str] = {}

    def add(self, note: str, detail: str) -> None:
        self.details[note] = f"{self.details[note]}; {detail}" if note in self.details else detail

    def has(self, note: str) -> bool:
        return note in self.details

    def clip(self, samples: np.ndarray | None, *facts: float) -> Clip:
        """The clip with the most severe note as its status, and its samples only where it is usable."""
        notes = sorted(self.details, key=lambda note: STATUSES.index(note) if note in STATUSES else len(STATUSES))
        status = next((note for note in notes if note in STATUSES), "ok")
        detail = "; ".join(self.details[note] for note in notes)
        return Clip(None if status in UNUSABLE else samples, status, tuple(notes), detail, *facts)
