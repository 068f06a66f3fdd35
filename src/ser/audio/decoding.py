"""Decode a file to 16 kHz mono and say, in one word, whether it can be used."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ser.audio.container import Container, missing_bytes, recognise
from ser.audio.noise import reduce_noise
from ser.audio.reading import SAMPLE_RATE, Recording, Unreadable, read_start, to_float

# From the most severe to none. The status of a file is the first that applies.
STATUSES = (
    "missing",
    "undecodable",
    "truncated",
    "non_finite",
    "too_short",
    "silent",
    "clipped",
    "too_long",
    "downmixed",
    "resampled",
    "ok",
)
UNUSABLE = frozenset({"missing", "undecodable", "truncated", "non_finite", "too_short", "silent"})
# Peak after removing the mean. The room noise of an ordinary recording lies above it, and the quietest of RAVDESS's
# acted clips peaks at -44 dBFS: below -60 dBFS (33 steps of a 16-bit sample) there is no speech to hear.
SILENCE_DB = -60.0
FLOOR_DB = -120.0
# Formats whose header says how many samples there are, which decoding has to confirm; others say bytes (see container.py)
# or leave a guess to the decoder.
PROMISE_SAMPLES = {"flac", "ogg"}
# A compressed file may hold this much less than its header says before it counts as truncated.
TOLERATED_SECONDS = 0.02


@dataclass(frozen=True)
class Clip:
    """A decoded file.

    samples: int16 (T,) mono at 16 kHz, None where the file is unusable (it is never replaced by zeros).
    status: one of STATUSES; notes: every status that applies besides ok, and "wrong_extension".
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


def decode(path: str | os.PathLike, min_seconds: float = 0.1, max_seconds: float = 15.0, noise_reduction: bool = False) -> Clip:
    """Decode the first `max_seconds` of a file to int16 mono 16 kHz.

    wav, flac, ogg, mp3, m4a, video and a few more, told apart by their content. Never raises for a bad file: the
    status and detail say what is wrong with it. Memory is bounded by `max_seconds`, whatever the file's length.
    noise_reduction: take stationary noise out, after the recording as it is was judged.
    """
    try:
        stat_regular(path)
        with Path(path).open("rb", buffering=0) as file:
            clip = _decode(file, extension(path), min_seconds, max_seconds)
        return replace(clip, samples=reduce_noise(clip.samples)) if noise_reduction and clip.usable else clip
    except OSError as error:
        return unopened(error)
    except Exception as error:  # a decoder's surprise must not end a run over thousands of files
        return Clip(None, "undecodable", ("undecodable",), f"{type(error).__name__}: {error}"[:300])


def extension(path: str | os.PathLike) -> str:
    """The extension in lower case, with its dot; "" where it has none or one that no format goes by (other than letters and digits)."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix.isascii() and suffix[1:].isalnum() else ""


def stat_regular(path: str | os.PathLike) -> os.stat_result:
    """The facts of a regular file. Raises OSError for anything else: reading from a pipe or a device may never end."""
    try:
        facts = Path(path).stat()
    except ValueError:  # a NUL in the name
        raise FileNotFoundError(errno.ENOENT, "no such file") from None
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file")
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.ENOTSUP, "a pipe, socket or device, not a file")
    return facts


def unopened(error: OSError) -> Clip:
    """The clip of a path that can't be opened."""
    missing = {errno.ENOENT: "no such file", errno.ENOTDIR: "no such folder", errno.ELOOP: "a symbolic link that leads to itself"}
    if error.errno in missing:
        return Clip(None, "missing", ("missing",), missing[error.errno])
    reason = "no permission to read it" if error.errno in (errno.EACCES, errno.EPERM) else (error.strerror or str(error))
    return Clip(None, "undecodable", ("undecodable",), reason)


def _decode(file, suffix: str, min_seconds: float, max_seconds: float) -> Clip:
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    container = recognise(descriptor)
    if container is None:
        begins = f"the content is no audio format known here (it begins with {os.pread(descriptor, 8, 0)!r})"
        return Clip(None, "undecodable", ("undecodable",), begins if size else "the file is empty (0 bytes)")
    found = Findings()
    if suffix not in container.extensions:
        found.add("wrong_extension", f"the content is {container.name}, the name says {suffix or 'something else'}")
    lacking = missing_bytes(descriptor, container, size)
    if lacking:
        found.add("truncated", lacking)
    try:
        recording = read_start(file, container, max_seconds)
    except Unreadable as reason:
        # With bytes missing that is the cause: an m4a without its index, an Ogg without its last page.
        found.add("truncated" if lacking else "undecodable", str(reason))
        return found.clip(None)
    return _judge(recording, container, found, min_seconds, max_seconds)


def _judge(recording: Recording, container: Container, found: Findings, min_seconds: float, max_seconds: float) -> Clip:
    samples = recording.samples()
    whole = recording.frames if recording.ended or recording.total_frames is None else recording.total_frames
    seconds = whole / recording.rate
    if recording.damaged and not found.has("truncated"):
        found.add("undecodable", recording.damaged)
    lacking = (recording.total_frames or 0) - recording.frames
    if container.name in PROMISE_SAMPLES and recording.ended and lacking > TOLERATED_SECONDS * recording.rate:
        found.add("truncated", f"the header promises {recording.total_frames:,} samples, {recording.frames:,} can be decoded")
    if recording.non_finite:
        found.add("non_finite", f"{recording.non_finite:,} samples are NaN or infinite")
    if recording.clipped_runs:
        found.add("clipped", f"{recording.clipped_runs:,} runs of samples at full scale")
    if recording.channels > 1:
        found.add("downmixed", f"{recording.channels} channels")
    if recording.rate != SAMPLE_RATE:
        found.add("resampled", f"{recording.rate} Hz")
    if seconds > max_seconds:
        length = f"{seconds:.1f} s" if recording.ended or recording.total_frames else "longer"
        found.add("too_long", f"{length}, cut to {max_seconds:g} s")
    if len(samples) < min_seconds * SAMPLE_RATE:
        found.add("too_short", f"{len(samples) / SAMPLE_RATE * 1000:.0f} ms" if len(samples) else "no samples")
    peak_db, rms_db = levels(samples)
    if len(samples) and peak_db < SILENCE_DB:
        found.add("silent", f"the peak is {peak_db:.0f} dBFS{_cancelled(recording, peak_db)}")
    return found.clip(samples, seconds, recording.rate, recording.channels, peak_db, rms_db)


def _cancelled(recording: Recording, peak_db: float) -> str:
    """Say so when the channels aren't silent and their mean is: one of them is the other upside down."""
    if recording.channels > 1 and _db(recording.peak) >= max(SILENCE_DB, peak_db + 20):
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
