"""Reading with FFmpeg (PyAV): any container and codec, part by part, through changes of rate and layout."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ser.audio.container import OTHER_DEMUXERS, Container
from ser.audio.joined import Part
from ser.audio.recording import LATE_SECONDS, LONGEST_SECONDS, TOLERATED_SECONDS, Recording, Unreadable, one_line
from ser.audio.source import Source
from ser.audio.tracks import choose_track
from ser.audio.window import Window

FRAMES_AT_ONCE = 1 << 14  # decoders give about a thousand, and each block costs some Python
# Of formats made to be joined into in the middle: so much may fail before it counts as damage.
TOLERATED_LOSS = 0.1, 0.01  # seconds, share
# Decoders that tell a change of rate with the frame after it; their context knows it at once.
LATE_RATES = ("mp1", "mp2", "mp3")
# Formats whose header knows how long the sound is. From others FFmpeg estimates it.
EXACT, BY_HEADER = {"ogg", "flac"}, {"mov,mp4,m4a,3gp,3g2,mj2", "aiff", "au", "caf", "w64", "asf", "flv", "wv", "ape", "tta"}
OTHERS_TOLERATED = 0.5, 0.02  # seconds, share: edit lists and encoder delays are smaller


def read_with_ffmpeg(source: Source, seconds: float, by_clock: bool) -> Iterator[Recording]:
    """The same recording again after each block, at last as it ended. Raises Unreadable where nothing can be read."""
    recording, reasons = Recording(seconds), []
    for number, part in enumerate(source.parts, start=1):
        options = {"ignore_length": "1"} if source.endless and number == len(source.parts) else {}
        try:
            yield from _read_part(source, part, options, recording, by_clock and source.container.clock)
        except Unreadable as reason:
            if len(source.parts) == 1 or (not recording.layouts and number == len(source.parts)):
                raise
            reasons.append(f"part {number} of {len(source.parts)}: {reason}")
        if recording.full:
            break
    recording.damaged = "; ".join(filter(None, [recording.damaged, *reasons]))
    if not recording.full:
        recording.finish()
    yield recording


def _read_part(source: Source, part: Part, options: dict[str, str], recording: Recording, by_clock: bool) -> Iterator[Recording]:
    import av

    container = source.container
    # The demuxers are named, so that a playlist that names other files or addresses can't be one.
    options |= {"format_whitelist": container.demuxer or OTHER_DEMUXERS}
    try:
        with av.open(Window(source.descriptor, part, source.instead), format=container.demuxer or None, options=options) as opened:
            stream, recording.track = choose_track(opened, source.track)
            if container.name == "flac":
                # FLAC frames carry checksums, which FFmpeg overlooks unless told; a frame that fails is then left out.
                stream.codec_context.options = {"err_detect": "crccheck+explode"}
            if len(source.parts) == 1:
                recording.total_seconds = _length(opened, stream)
            yield from _Reader(opened, stream, container, recording).read(by_clock)
    except (av.FFmpegError, ValueError, TypeError, RuntimeError, OSError, ArithmeticError, LookupError) as error:
        raise Unreadable(one_line(error)) from None


class _Reader:
    """Takes one stream of one opened part into a recording."""

    def __init__(self, opened, stream, container: Container, recording: Recording) -> None:
        self.opened, self.stream, self.container, self.recording = opened, stream, container, recording
        self.before, self.end = recording.seconds, 0.0
        self.packets = self.failed = 0
        self.last_failed = False
        self.layout: tuple | None = None
        self.pending = 0  # frames that the resampler holds

    def read(self, by_clock: bool) -> Iterator[Recording]:
        import av

        for packet in self.opened.demux(self.stream):
            self.packets += 1
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.failed, self.last_failed = self.failed + 1, True
                continue
            self.last_failed = self.last_failed and not frames
            before = self.recording.seconds
            for frame in frames:
                if self.stream.codec_context.name[:3] in LATE_RATES:
                    frame.sample_rate = self.stream.codec_context.sample_rate
                self._take(frame, by_clock)
            if self.recording.full:
                return
            if self.recording.seconds > before:
                yield self.recording
        self._drain()
        self._judge()
        yield self.recording

    def _take(self, frame, by_clock: bool) -> None:
        # The frame knows rate and channels; the header of HE-AAC names half of each.
        layout = (frame.sample_rate, frame.layout.name, frame.format.name)
        if layout != self.layout:
            self._begin(frame, layout)
        if frame.time is not None:
            start = frame.time - self._start_time()
            self.end = max(self.end, start + frame.samples / frame.sample_rate)
            if by_clock and start - (self.recording.seconds - self.before) - self.pending / frame.sample_rate > LATE_SECONDS:
                self._drain()
                self._begin(frame, layout)
                self.recording.wait_until(self.before + start)
        frame.pts = None
        self.pending += frame.samples
        self._add(self.resampler.resample(frame))

    def _begin(self, frame, layout: tuple) -> None:
        import av

        self._drain()
        self.layout = layout
        self.recording.begin(frame.sample_rate, frame.layout.nb_channels, 8 if frame.format.name.startswith("u8") else 16)
        # Converts sample formats only; layout and rate stay as they are. Interleaved, because PyAV reads beyond its memory
        # when a planar frame has more than eight channels.
        self.resampler = av.AudioResampler(format="flt", frame_size=FRAMES_AT_ONCE)

    def _drain(self) -> None:
        if self.layout and self.pending:
            self._add(self.resampler.resample(None))
            self.pending, self.layout = 0, None

    def _add(self, frames: list) -> None:
        for frame in frames:
            block = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
            self.pending -= len(block)
            self.recording.add(block)

    def _start_time(self) -> float:
        import av

        return (self.opened.start_time or 0) / av.time_base

    def _judge(self) -> None:
        """What the part lacked, now that it is read to its end."""
        seconds = self.recording.seconds - self.before
        if not self.recording.layouts or seconds == 0:
            raise Unreadable(f"none of its {self.packets} packets can be decoded" if self.failed else "no audio in its audio stream")
        # A last packet that fails is the cut end of a file.
        failed = self.failed - (self.failed == 1 and self.last_failed)
        told = f"{failed} of {self.packets} packets can't be decoded"
        lost = failed * seconds / max(1, self.packets - self.failed)
        if failed and self.container.resumes and lost <= max(TOLERATED_LOSS[0], TOLERATED_LOSS[1] * seconds):
            self.recording.skipped = told
        elif failed:
            self.recording.damaged = told
        promised, tolerated = _promise(self.opened, self.stream, self.container)
        self.recording.compare(promised, seconds if tolerated == TOLERATED_SECONDS else max(seconds, self.end), tolerated)


def _length(opened, stream) -> float | None:
    """Seconds by the header, or as FFmpeg guesses."""
    import av

    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    else:
        duration = opened.duration / av.time_base if opened.duration else 0.0
    return duration if 0 < duration < LONGEST_SECONDS else None


def _promise(opened, stream, container: Container) -> tuple[float | None, float]:
    """(seconds of this stream that the header promises, how many of them may be lacking); None where it promises none."""
    length = _length(opened, stream)
    if length is None:
        return None, 0.0
    if container.name in EXACT:
        is_opus = stream.codec_context.name.endswith("opus") and len(stream.codec_context.extradata or b"") >= 12
        # What an Opus encoder puts in front (pre-skip, RFC 7845) counts in the length, and is not decoded.
        skipped = int.from_bytes(stream.codec_context.extradata[10:12], "little") / 48_000 if is_opus else 0.0
        return length - skipped, TOLERATED_SECONDS
    tolerated = max(OTHERS_TOLERATED[0], OTHERS_TOLERATED[1] * length)
    if container.name == "matroska":
        return _matroska_length(opened, stream, length), tolerated
    return (length if opened.format.name in BY_HEADER else None), tolerated


def _matroska_length(opened, stream, length: float) -> float | None:
    """The track's own length where a tag has it; the file's length only says something about sound where there is no picture."""
    clock = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if clock:
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])
    return None if opened.streams.video else length
