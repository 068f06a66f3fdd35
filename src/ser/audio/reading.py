"""Read the first seconds of any audio file as 16 kHz mono: libsndfile first, FFmpeg (PyAV) where that can't.

Memory is bounded by the seconds asked for, not by the file: each block is mixed down, resampled and rounded as it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ser.audio.container import Container

SAMPLE_RATE = 16_000
BLOCK_VALUES = 1 << 18  # samples times channels held at once
RATES = range(1_000, 768_001)  # Hz; a header that says anything else is damaged
LONGEST_SECONDS = 1e7  # four months: a header that says more is damaged
# Sound may be late by this much before silence is put in its place: encoders' own rounding is less.
LATE_SECONDS = 0.05
LONGEST_PAUSE = 600.0  # a clock that jumps further is damaged
# Successive samples at full scale that count as clipping: the default of Audacity's Find Clipping.
CLIPPED_RUN = 3


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

    total_frames: frames of the whole file by its header, None where it doesn't say. frames: how many were read.
    ended: the file was read to its end. damaged: why part of it couldn't be decoded. peak: largest absolute sample in any channel.
    """

    def __init__(self, rate: int, channels: int, total_frames: int | None, seconds: float) -> None:
        if rate not in RATES or channels < 1:
            raise Unreadable(f"the header says {rate} Hz and {channels} channels; {RATES.start} to {RATES.stop - 1} Hz are possible")
        self.rate, self.channels, self.total_frames = rate, channels, total_frames
        self.full_scale = 1 - 2.0**-15  # the largest value of a sixteen-bit sample
        self.frames, self.non_finite, self.clipped_runs, self.peak = 0, 0, 0, 0.0
        self.ended, self.damaged = False, ""
        self._wanted = int(seconds * SAMPLE_RATE)
        self._made = 0
        self._blocks: list[np.ndarray] = []
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")

    def wait_until(self, seconds: float) -> None:
        """Put silence up to this time of the file's clock, where the sound so far ends clearly before it."""
        late = seconds - self.frames / self.rate
        if LATE_SECONDS < late < LONGEST_PAUSE:
            missing, block = round(late * self.rate), max(1, BLOCK_VALUES // self.channels)
            for start in range(0, missing, block):
                self.add(np.zeros((min(block, missing - start), self.channels), np.float32))

    @property
    def full(self) -> bool:
        """As many seconds were made as are wanted."""
        return self._made >= self._wanted

    def add(self, block: np.ndarray) -> None:
        """Take in a block of shape (frames, channels), float32."""
        self.frames += len(block)
        finite = np.isfinite(block)
        if not finite.all():
            self.non_finite += block.size - int(np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        if self.peak >= self.full_scale:
            self.clipped_runs += _runs(np.abs(block) >= self.full_scale)
        # The mean over channels, as a product: numpy's mean over a short last axis takes a hundred times as long.
        self._resample(block @ np.full(self.channels, 1 / self.channels, np.float32))

    def finish(self) -> None:
        """The file ended: let out what the resampling filter still holds."""
        self.ended = True
        if self._resampler:
            self._resample(np.zeros(0, np.float32), last=True)

    def samples(self) -> np.ndarray:
        """int16 (T,), at most the seconds wanted."""
        return np.concatenate([np.zeros(0, np.int16), *self._blocks])[: self._wanted]

    def take(self) -> np.ndarray:
        """int16 (T,): what was made since the last call, and not kept any longer."""
        blocks, self._blocks = self._blocks, []
        return np.concatenate([np.zeros(0, np.int16), *blocks])

    def _resample(self, wave: np.ndarray, last: bool = False) -> None:
        if self._resampler:
            wave = self._resampler.resample_chunk(np.ascontiguousarray(wave), last=last)
        self._blocks.append(to_int16(wave))
        self._made += len(wave)


def read_start(file: BinaryIO, container: Container, seconds: float) -> Recording:
    """Read at most `seconds` from the start of an open file. Raises Unreadable."""
    reasons = []
    kept = None
    for reader in _readers(container):
        file.seek(0)
        try:
            recording = deque(reader(file, container, seconds, by_clock=False), maxlen=1).pop()
        except Unreadable as reason:
            reasons.append(str(reason))
            continue
        if not recording.damaged:
            return recording
        # The other library may know better; of two damaged readings the first is kept.
        kept = kept or recording
    if kept is not None:
        return kept
    raise Unreadable("; ".join(dict.fromkeys(reasons)))


def read_all(file: BinaryIO, container: Container) -> Iterator[Recording]:
    """Read an open file to its end: the same recording again after each block, from which the caller takes the samples.

    Time 0 is where players begin: sound that comes later than the picture, or stops for a while, has silence in its place.

    Raises Unreadable, where something was read already with what went wrong then.
    """
    reasons = []
    for reader in _readers(container):
        file.seek(0)
        begun = False
        try:
            for recording in reader(file, container, LONGEST_SECONDS, by_clock=True):
                begun = True
                yield recording
            return
        except Unreadable as reason:
            if begun:  # another library would begin at the start again
                raise
            reasons.append(str(reason))
    raise Unreadable("; ".join(dict.fromkeys(reasons)))


def _readers(container: Container) -> list:
    return [_read_with_soundfile, _read_with_ffmpeg] if container.soundfile else [_read_with_ffmpeg]


def _read_with_soundfile(file: BinaryIO, container: Container, seconds: float, by_clock: bool) -> Iterator[Recording]:
    try:
        # By descriptor: libsndfile then can't take a file's name for its format.
        source = soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
        raise Unreadable(_tidy(error)) from None
    with source:
        known = source.frames if 0 <= source.frames < LONGEST_SECONDS * source.samplerate else None
        recording = Recording(source.samplerate, source.channels, known, seconds)
        if source.subtype in ("PCM_U8", "PCM_S8"):
            recording.full_scale = 1 - 2.0**-7
        frames = max(1, BLOCK_VALUES // source.channels)
        while not recording.full:
            try:
                block = source.read(frames, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError, OSError) as error:
                recording.damaged = _tidy(error)
                break
            recording.add(block)
            if len(block) < frames:
                recording.finish()
                break
            yield recording
        yield recording


def _read_with_ffmpeg(file: BinaryIO, container: Container, seconds: float, by_clock: bool) -> Iterator[Recording]:
    import av

    try:
        # The demuxer is named, so nothing is guessed, and a playlist that names other files or addresses can't be one;
        # "file:" keeps a name with a colon from being taken for an address.
        with av.open(f"file:{Path(file.name).absolute()}", format=container.demuxer) as source:
            yield from _read_stream(source, container, seconds, by_clock)
    except (av.FFmpegError, ValueError, TypeError, RuntimeError, OSError, ArithmeticError, LookupError) as error:
        raise Unreadable(_tidy(error)) from None


def _read_stream(source, container: Container, seconds: float, by_clock: bool) -> Iterator[Recording]:
    import av

    if not source.streams.audio:
        kinds = ", ".join(sorted({stream.type for stream in source.streams})) or "nothing"
        raise Unreadable(f"no audio stream (the file holds {kinds})")
    stream = source.streams.audio[0]
    if stream.codec_context is None:
        raise Unreadable("no decoder for its audio stream")
    if container.name == "flac":
        # FLAC frames carry checksums, which FFmpeg overlooks unless told; a frame that fails is then left out.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    # Converts sample formats only; layout and rate stay as they are. Interleaved, because PyAV reads beyond its memory
    # when a planar frame has more than eight channels.
    to_float = av.AudioResampler(format="flt")
    recording = None
    packets = failed = 0
    last_failed = False
    for packet in source.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.FFmpegError:
            failed, last_failed = failed + 1, True
            continue
        last_failed = last_failed and not frames
        for frame in frames:
            # The first frame knows rate and channels; the header of HE-AAC names half of each.
            recording = recording or _empty_recording(source, stream, frame, seconds)
            if (frame.sample_rate, frame.layout.nb_channels) != (recording.rate, recording.channels):
                raise Unreadable("rate or channels change in the middle of the file")
            if by_clock and frame.time is not None:
                recording.wait_until(frame.time - (source.start_time or 0) / av.time_base)
            for part in to_float.resample(frame):
                recording.add(part.to_ndarray().reshape(-1, recording.channels))
        if recording and recording.full:
            break
        if recording:
            yield recording
    if recording is None:
        raise Unreadable(f"none of its {packets} packets can be decoded" if failed else "no audio in its audio stream")
    if not recording.full:
        recording.finish()
    # A last packet that fails is the cut end of a file.
    if failed > (recording.ended and last_failed):
        recording.damaged = f"{failed} of {packets} packets can't be decoded"
    yield recording


def _empty_recording(source, stream, frame, seconds: float) -> Recording:
    import av

    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    else:
        duration = source.duration / av.time_base if source.duration else 0.0
    total = round(duration * frame.sample_rate) if 0 < duration < LONGEST_SECONDS else None
    return Recording(frame.sample_rate, frame.layout.nb_channels, total, seconds)


def _runs(flags: np.ndarray) -> int:
    """Count runs of at least CLIPPED_RUN true values along the first axis, in all columns."""
    if len(flags) < CLIPPED_RUN:
        return 0
    full = flags[CLIPPED_RUN - 1 :].copy()
    for shift in range(1, CLIPPED_RUN):
        full &= flags[CLIPPED_RUN - 1 - shift : len(flags) - shift]
    return int(full[0].sum() + (full[1:] & ~full[:-1]).sum())


def _tidy(error: Exception) -> str:
    """A library's message without the file name or object it puts in it."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200].rstrip(". ") or type(error).__name__
