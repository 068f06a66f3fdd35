"""Read the first seconds of any audio file as mono at its own rate: libsndfile first, FFmpeg (PyAV) where that can't.

Memory is bounded by the seconds asked for, not by the file: blocks are mixed down as they come.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from ser.audio.container import Container

BLOCK_VALUES = 1 << 18  # samples times channels held at once
RATES = range(1_000, 768_001)  # Hz; outside of it a header is damaged, and resampling from it would take any amount of memory
LONGEST_SECONDS = 1e7  # four months: a header that says more is damaged
# Successive samples at full scale that count as clipping: the default of Audacity's Find Clipping.
CLIPPED_RUN = 3


class Unreadable(Exception):
    """Neither library can make sound of this file. The text says why."""


@dataclass
class Recording:
    """The first part of a file, mixed down, and what was seen of its channels before that."""

    rate: int
    channels: int
    total_frames: int | None
    """Frames of the whole file by its header; None where the header doesn't say."""
    full_scale: float = 1 - 2.0**-15
    """The largest sample value the format can hold: 127/128 in eight bits, 32767/32768 in sixteen."""
    blocks: list[np.ndarray] = field(default_factory=list)
    frames: int = 0
    ended: bool = False
    """The file was read to its end."""
    damaged: str = ""
    peak: float = 0.0
    """Largest absolute sample in any channel."""
    non_finite: int = 0
    clipped_runs: int = 0

    def add(self, block: np.ndarray) -> None:
        """Take in a block of shape (frames, channels), float32."""
        self.frames += len(block)
        bad = block.size - int(np.count_nonzero(np.isfinite(block)))
        if bad:
            self.non_finite += bad
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        if self.peak >= self.full_scale:
            self.clipped_runs += _runs(np.abs(block) >= self.full_scale)
        self.blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))

    def mono(self) -> np.ndarray:
        """The mean of the channels, float32 (frames,)."""
        return np.concatenate(self.blocks) if self.blocks else np.zeros(0, np.float32)


def read_start(file: BinaryIO, container: Container, seconds: float) -> Recording:
    """Read at most `seconds` from the start of an open file. Raises Unreadable."""
    reasons = []
    readers = [_read_with_soundfile, _read_with_ffmpeg] if container.soundfile else [_read_with_ffmpeg]
    kept = None
    for reader in readers:
        file.seek(0)
        try:
            recording = reader(file, container, seconds)
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


def _read_with_soundfile(file: BinaryIO, container: Container, seconds: float) -> Recording:
    try:
        # By descriptor: libsndfile then can't take a file's name for its format.
        source = soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
        raise Unreadable(_tidy(error)) from None
    with source:
        _check_header(source.samplerate, source.channels)
        known = source.frames if 0 <= source.frames < LONGEST_SECONDS * source.samplerate else None
        recording = Recording(source.samplerate, source.channels, known)
        if source.subtype in ("PCM_U8", "PCM_S8"):
            recording.full_scale = 1 - 2.0**-7
        wanted = int(np.ceil(seconds * source.samplerate))
        while recording.frames < wanted:
            frames = min(wanted - recording.frames, max(1, BLOCK_VALUES // source.channels))
            try:
                block = source.read(frames, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError, OSError) as error:
                recording.damaged = _tidy(error)
                break
            recording.add(block)
            if len(block) < frames:
                recording.ended = True
                break
        else:
            recording.ended = known is not None and recording.frames >= known
    return recording


def _read_with_ffmpeg(file: BinaryIO, container: Container, seconds: float) -> Recording:
    import av

    try:
        # The demuxer is named, so nothing is guessed, and a playlist that names other files or addresses can't be one;
        # "file:" keeps a name with a colon from being taken for an address.
        with av.open(f"file:{Path(file.name).absolute()}", format=container.demuxer) as source:
            return _read_stream(source, seconds)
    except (av.FFmpegError, ValueError, TypeError, RuntimeError, OSError, ArithmeticError, LookupError) as error:
        raise Unreadable(_tidy(error)) from None


def _read_stream(source, seconds: float) -> Recording:
    import av

    if not source.streams.audio:
        kinds = ", ".join(sorted({stream.type for stream in source.streams})) or "nothing"
        raise Unreadable(f"no audio stream (the file holds {kinds})")
    stream = source.streams.audio[0]
    if stream.codec_context is None:
        raise Unreadable("no decoder for its audio stream")
    # Converts sample formats only; layout and rate stay as they are. Interleaved, because PyAV reads beyond its memory
    # when a planar frame has more than eight channels.
    to_float = av.AudioResampler(format="flt")
    recording = None
    packets = failed = 0
    last_failed = ended = False
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
            recording = recording or _empty_recording(source, stream, frame)
            if (frame.sample_rate, frame.layout.nb_channels) != (recording.rate, recording.channels):
                raise Unreadable("rate or channels change in the middle of the file")
            for part in to_float.resample(frame):
                recording.add(part.to_ndarray().reshape(-1, recording.channels))
        if recording and recording.frames >= seconds * recording.rate:
            break
    else:
        ended = True
    if recording is None:
        raise Unreadable(f"none of its {packets} packets can be decoded" if failed else "no audio in its audio stream")
    recording.ended = ended
    # A last packet that fails is the cut end of a file.
    if failed > (ended and last_failed):
        recording.damaged = f"{failed} of {packets} packets can't be decoded"
    return recording


def _empty_recording(source, stream, frame) -> Recording:
    import av

    rate, channels = frame.sample_rate, frame.layout.nb_channels
    _check_header(rate, channels)
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = source.duration / av.time_base if source.duration else 0.0
    return Recording(rate, channels, round(seconds * rate) if 0 < seconds < LONGEST_SECONDS else None)


def _check_header(rate: int, channels: int) -> None:
    if rate not in RATES or channels < 1:
        raise Unreadable(f"the header says {rate} Hz and {channels} channels; {RATES.start} to {RATES.stop - 1} Hz are possible")


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
