"""What is made of a file as it is read: blocks mixed down, resampled and rounded as they come, so that memory doesn't grow with it."""

from __future__ import annotations

import numpy as np
import soxr

SAMPLE_RATE = 16_000
BLOCK_VALUES = 1 << 18  # samples times channels held at once
RATES = range(1_000, 768_001)  # Hz; a header that says anything else is damaged
# Sound may be late by this much before silence is put in its place: encoders' own rounding is less.
LATE_SECONDS = 0.05
LONGEST_PAUSE = 600.0  # a clock that jumps further is damaged
# Successive samples at full scale that count as clipping: the default of Audacity's Find Clipping.
CLIPPED_RUN = 3
LONGEST_SECONDS = 1e7  # four months: a header that says more is damaged
# A compressed file may hold this much less than its header says before it counts as truncated.
TOLERATED_SECONDS = 0.02


def to_float(samples: np.ndarray) -> np.ndarray:
    """int16 to float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(32768)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1) to the nearest int16; louder ones saturate."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


class Unreadable(Exception):
    """Neither library can make sound of this file. The text says why."""


class Recording:
    """The first part of a file at 16 kHz mono, and what was seen of its channels before that.

    layouts: (rate, channels) in the order in which they occur; most files have one. total_seconds: length of the whole file by its
    header, None where it doesn't say. seconds: how much was read. ended: the file was read to its end. damaged: why part of it
    couldn't be decoded; lacking: what a header promised beyond what could be; skipped: what was left out that is no damage.
    track: which of several sound tracks is heard. peak: largest absolute sample in any channel.
    """

    def __init__(self, wanted_seconds: float) -> None:
        self.layouts: list[tuple[int, int]] = []
        self.total_seconds: float | None = None
        self.non_finite, self.clipped_runs, self.peak = 0, 0, 0.0
        self.ended, self.damaged, self.lacking, self.skipped, self.track = False, "", "", "", ""
        self._wanted = int(wanted_seconds * SAMPLE_RATE)
        self._made = 0
        self._blocks: list[np.ndarray] = []
        self._layout, self._frames, self._seconds_before = (0, 0), 0, 0.0
        self._resampler: soxr.ResampleStream | None = None

    def begin(self, rate: int, channels: int, bits: int = 16) -> None:
        """The blocks that follow have this rate and so many channels, of samples with so many bits. Raises Unreadable where none can."""
        if rate not in RATES or channels < 1:
            raise Unreadable(f"the header says {rate} Hz and {channels} channels; {RATES.start} to {RATES.stop - 1} Hz are possible")
        self.full_scale = 1 - 2.0 ** (1 - bits)  # the largest value of such a sample
        if rate != self._layout[0]:
            self._seconds_before, self._frames = self.seconds, 0
            self._flush()
            self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
        self._layout = (rate, channels)
        if self._layout not in self.layouts:
            self.layouts.append(self._layout)

    @property
    def seconds(self) -> float:
        """How much was read."""
        return self._seconds_before + (self._frames / self._layout[0] if self._frames else 0.0)

    @property
    def full(self) -> bool:
        """As many seconds were made as are wanted."""
        return self._made >= self._wanted

    def add(self, block: np.ndarray) -> None:
        """Take in a block of shape (frames, channels), float32."""
        self._frames += len(block)
        finite = np.isfinite(block)
        if not finite.all():
            self.non_finite += block.size - int(np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        if self.peak >= self.full_scale:
            self.clipped_runs += _runs(np.abs(block) >= self.full_scale)
        # The mean over channels, as a product: numpy's mean over a short last axis takes a hundred times as long.
        channels = block.shape[1]
        self._resample(block @ np.full(channels, 1 / channels, np.float32))

    def wait_until(self, seconds: float) -> None:
        """Put silence up to this time of the file's clock, where the sound so far ends clearly before it."""
        rate, channels = self._layout
        late = seconds - self.seconds
        if LATE_SECONDS < late < LONGEST_PAUSE:
            missing, block = round(late * rate), max(1, BLOCK_VALUES // channels)
            for start in range(0, missing, block):
                self.add(np.zeros((min(block, missing - start), channels), np.float32))

    def compare(self, promised: float | None, seconds: float, tolerated: float = TOLERATED_SECONDS) -> None:
        """Note where fewer seconds could be decoded than a header promises."""
        if promised is not None and promised - seconds > tolerated and not self.lacking:
            rate = self._layout[0]
            samples = f"the header promises {promised * rate:,.0f} samples, {seconds * rate:,.0f} can be decoded"
            self.lacking = f"{samples}: {seconds:.1f} s of {promised:.1f} s"

    def finish(self) -> None:
        """The file ended: let out what the resampling filter still holds."""
        self.ended = True
        self._flush()

    def samples(self) -> np.ndarray:
        """int16 (T,), at most the seconds wanted."""
        return np.concatenate([np.zeros(0, np.int16), *self._blocks])[: self._wanted]

    def take(self) -> np.ndarray:
        """int16 (T,): what was made since the last call, and not kept any longer."""
        blocks, self._blocks = self._blocks, []
        return np.concatenate([np.zeros(0, np.int16), *blocks])

    def _flush(self) -> None:
        if self._resampler:
            self._resample(np.zeros(0, np.float32), last=True)
            self._resampler = None

    def _resample(self, wave: np.ndarray, last: bool = False) -> None:
        if self._resampler:
            wave = self._resampler.resample_chunk(np.ascontiguousarray(wave), last=last)
        self._blocks.append(to_int16(wave))
        self._made += len(wave)


def _runs(flags: np.ndarray) -> int:
    """Count runs of at least CLIPPED_RUN true values along the first axis, in all columns."""
    if len(flags) < CLIPPED_RUN:
        return 0
    full = flags[CLIPPED_RUN - 1 :].copy()
    for shift in range(1, CLIPPED_RUN):
        full &= flags[CLIPPED_RUN - 1 - shift : len(flags) - shift]
    return int(full[0].sum() + (full[1:] & ~full[:-1]).sum())


def one_line(error: Exception) -> str:
    """A library's message without the file name or object it puts in it."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200].rstrip(". ") or type(error).__name__
