"""A film whose words, times and emotions are known: clips one after another, with pauses and background noise, muxed to mp4 by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

SECOND = 16_000


@dataclass(frozen=True)
class Line:
    """One spoken line of the film: when (seconds), which clip, what is said."""

    start: float
    end: float
    clip: int
    text: str


def make_film(
    path: Path, clips: Sequence[np.ndarray], texts: Sequence[str], seed: int = 0, rate: int = 44_100, noise: float = 30.0, late: float = 0.0
) -> list[Line]:
    """Write clips (int16 at 16 kHz) with pauses of 0.3 to 2 s as a film with a small picture; returns the truth.

    noise: its standard deviation in steps of 16 bits. late: seconds by which the sound begins after the picture.
    """
    random = np.random.default_rng(seed)
    lines, parts, at = [], [], 0
    for number, (clip, text) in enumerate(zip(clips, texts, strict=True)):
        pause = round(random.uniform(0.3, 2.0) * SECOND)
        lines.append(Line(late + (at + pause) / SECOND, late + (at + pause + len(clip)) / SECOND, number, text))
        parts += [np.zeros(pause, np.int16), clip]
        at += pause + len(clip)
    sound = np.concatenate([*parts, np.zeros(SECOND, np.int16)])
    _mux(path, sound, rate, noise, random, late)
    return lines


def _mux(path: Path, sound: np.ndarray, rate: int, noise: float, random: np.random.Generator, late: float) -> None:
    with av.open(str(path), "w") as target:
        picture = target.add_stream("mpeg4", rate=5, width=320, height=180, pix_fmt="yuv420p")
        track = target.add_stream("aac", rate=rate, layout="stereo")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
        image = np.full((180, 320, 3), 60, np.uint8)
        for start in range(0, len(sound), SECOND):
            block = sound[start : start + SECOND]
            noisy = np.clip(block + random.normal(0, noise, len(block)), -32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(noisy[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SECOND, start + round(late * SECOND)
            for part in resampler.resample(frame):
                target.mux(track.encode(part))
            for _ in range(5):
                target.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for part in resampler.resample(None):
            target.mux(track.encode(part))
        target.mux(track.encode(None))
        target.mux(picture.encode(None))


def write_srt(path: Path, lines: Sequence[Line]) -> Path:
    """The truth as a transcript."""

    def time(seconds: float) -> str:
        milliseconds = round(seconds * 1000)
        return (
            f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}:{milliseconds // 1000 % 60:02d},{milliseconds % 1000:03d}"
        )

    blocks = [f"{number}\n{time(line.start)} --> {time(line.end)}\n{line.text}\n" for number, line in enumerate(lines, 1)]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path
