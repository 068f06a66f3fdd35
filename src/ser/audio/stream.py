"""A recording of any length, block by block, decoded in a process that may die.

The process writes what it decodes into a pipe, which stops it while nobody reads: memory doesn't grow with the file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ser.audio.decoding import stat_regular, unknown_content, unopened
from ser.audio.pool import SECONDS_PER_FILE, start_process
from ser.audio.reading import read_all
from ser.audio.recording import Recording, Unreadable
from ser.audio.source import Source, open_source
from ser.audio.status import LARGEST_PEAK
from ser.audio.worker import READY, silenced_answers
from ser.runtime.errors import UserError


def checked_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks from a microphone as they come. Raises UserError for what isn't int16 (T,): floats within ±1 would pass for silence."""
    if isinstance(blocks, (bytes, np.ndarray)) or not isinstance(blocks, Iterable):
        given = f"an array {blocks.shape}" if isinstance(blocks, np.ndarray) else type(blocks).__name__
        raise UserError(f"given {given}; needed are blocks one after the other, each int16 (samples,) at 16 kHz, or a file's path.")
    for block in blocks:
        if not isinstance(block, np.ndarray) or block.dtype != np.int16 or block.ndim != 1:
            given = f"{block.dtype} {block.shape}" if isinstance(block, np.ndarray) else type(block).__name__
            raise UserError(
                f"a block of {given}; needed is int16 (samples,), one channel at 16 kHz. "
                "Of float32 within -1 and 1: np.round(block.clip(-1, 1) * 32767).astype(np.int16)."
            )
        yield block


class AudioStream:
    """The blocks of one recording, int16 (T,) mono at 16 kHz; iterate over it once.

    seconds: length by the file's header, None where it doesn't say; known after the first block. status: ok, or what ended the
    recording early, kept it from being read at all or makes it doubtful (missing, undecodable, truncated, non_finite, out_of_scale,
    incomplete); detail says more. Both are known at the end. track: which of several audio tracks is heard, "" where there is one.

    audio_track: the number of the track to hear, from 1; None is the one that a player would start with.
    """

    def __init__(self, path: str | os.PathLike, audio_track: int | None = None) -> None:
        self.path, self.audio_track = os.fspath(path), audio_track
        self.seconds: float | None = None
        self.status, self.detail, self.track = "ok", "", ""

    def __iter__(self) -> Iterator[np.ndarray]:
        process = start_process("ser.audio.stream")
        try:
            process.stdin.write(json.dumps([self.path, self.audio_track]).encode() + b"\n")
            process.stdin.close()
            while True:
                line = process.stdout.readline()
                if not line.endswith(b"\n"):
                    self._died(process.wait())
                    return
                answer = json.loads(line)
                self.seconds, self.track = answer.get("seconds", self.seconds), answer.get("track", self.track)
                if "status" in answer:
                    self.status, self.detail = answer["status"], answer["detail"]
                    return
                block = process.stdout.read(answer["size"])
                if len(block) < answer["size"]:
                    self._died(process.wait())
                    return
                yield np.frombuffer(block, np.int16)
        finally:
            process.stdout.close()  # a process still writing ends by that
            process.wait()

    def check_readable(self) -> None:
        """Raises UserError where the recording couldn't be read at all; known at its end."""
        if self.status in ("missing", "undecodable"):
            raise UserError(f"{self.path}: {self.status}: {self.detail}")

    def _died(self, code: int) -> None:
        reason = f"nothing decoded within {SECONDS_PER_FILE} s" if code == -signal.SIGALRM else "it crashes the decoder"
        self.status, self.detail = "undecodable", reason


def main() -> None:
    """Decode the file named on stdin (JSON: path, audio track) to stdout: lines of JSON, each with `size` followed by so many bytes."""
    answers = silenced_answers()
    answers.write(READY)
    answers.flush()
    path, track = json.loads(sys.stdin.buffer.readline())
    try:
        status, detail = _decode(path, track, answers)
        answers.write(json.dumps({"status": status, "detail": detail}).encode() + b"\n")
        answers.flush()
    except BrokenPipeError:  # nobody wants the rest
        os._exit(0)


def _decode(path: str, track: int | None, answers) -> tuple[str, str]:
    try:
        stat_regular(path)
        with Path(path).open("rb", buffering=0) as file:
            if not os.fstat(file.fileno()).st_size:
                return "undecodable", "the file is empty (0 bytes)"
            source = open_source(file, track)
            recording = None
            signal.alarm(SECONDS_PER_FILE)
            try:
                for recording in read_all(source):
                    signal.alarm(0)
                    _send(recording, answers)
                    signal.alarm(SECONDS_PER_FILE)
            except Unreadable as reason:
                return ("truncated", source.missing) if source.missing else ("undecodable", unknown_content(source) or str(reason))
            signal.alarm(0)
            return _judge(recording, source)
    except BrokenPipeError:
        raise
    except OSError as error:
        clip = unopened(error)
        return clip.status, clip.detail


def _send(recording: Recording, answers) -> None:
    samples = recording.take()
    header = {"size": samples.nbytes, "seconds": recording.total_seconds, "track": recording.track}
    answers.write(json.dumps(header).encode() + b"\n" + samples.tobytes())
    answers.flush()


def _judge(recording: Recording, source: Source) -> tuple[str, str]:
    if source.missing or recording.lacking:
        read = f"{recording.seconds:.1f} s can be decoded" if source.missing and not recording.lacking else recording.lacking
        return "truncated", "; ".join(filter(None, [source.missing, read]))
    if recording.damaged:
        return "undecodable", f"{recording.damaged} (after {recording.seconds:.1f} s)"
    if recording.non_finite:
        return "non_finite", f"{recording.non_finite:,} samples are NaN or infinite"
    if recording.peak > LARGEST_PEAK:
        return "out_of_scale", f"samples reach {recording.peak:,.0f} times full scale"
    left = "; ".join(filter(None, [source.left, recording.skipped]))
    return ("incomplete", left) if left else ("ok", "")
