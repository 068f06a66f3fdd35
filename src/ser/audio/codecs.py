"""A wave sent through a lossy codec and back, in memory: as a film, a messenger or a telephone would have kept it."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import soxr

from ser.audio.recording import SAMPLE_RATE


class Codec(NamedTuple):
    """container: FFmpeg's name of it; one that tells how much silence the encoder puts in front, so that it is taken off again."""

    container: str
    encoder: str
    sample_format: str
    rate: int
    """Hz at which it is encoded."""


CODECS = {
    "aac": Codec("mp4", "aac", "fltp", 48_000),
    "mp3": Codec("mp3", "libmp3lame", "fltp", 48_000),
    "opus": Codec("ogg", "libopus", "flt", 48_000),
    "telephone": Codec("wav", "pcm_alaw", "s16", 8_000),
}
"""The codecs by the names that users give them. telephone: G.711, A-law, 8 kHz."""
HIGHEST_KBPS = 320
"""FFmpeg takes 24 to 320 for mono of each of them; Opus gives no more than 256. G.711 has 64, whatever is asked for."""

AFTER = SAMPLE_RATE // 10
"""Samples of silence behind a clip while it is encoded: of one shorter than the encoder's delay nothing would come back."""


def through_codec(wave: np.ndarray, name: str, kbps: int) -> np.ndarray:
    """Encode and decode a wave, float32 (T,) at 16 kHz, finite; returns float32 (T,), in time with it. Louder than full scale is clipped.

    name: of CODECS. kbps: kilobits a second, of 24 to 320.
    """
    codec = CODECS[name]
    whole = np.pad(np.clip(wave, -1, 1).astype(np.float32), (0, AFTER))
    sent = soxr.resample(whole, SAMPLE_RATE, codec.rate, "HQ")
    with io.BytesIO() as file:
        _encode(file, codec, sent, kbps)
        file.seek(0)
        received, rate = _decode(file)
    heard = soxr.resample(received, rate, SAMPLE_RATE, "HQ")[: len(wave)]
    return np.pad(heard, (0, len(wave) - len(heard)))


def _encode(file: io.BytesIO, codec: Codec, wave: np.ndarray, kbps: int) -> None:
    import av

    frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = codec.rate, 0  # without a time, mp4 doesn't write where the sound begins
    converter = av.AudioResampler(format=codec.sample_format, layout="mono", rate=codec.rate)
    with av.open(file, "w", format=codec.container) as target:
        stream = target.add_stream(codec.encoder, rate=codec.rate, layout="mono")
        stream.bit_rate = 1000 * min(kbps, 256 if codec.encoder == "libopus" else HIGHEST_KBPS)
        for part in [*converter.resample(frame), None]:
            target.mux(stream.encode(part))


def _decode(file: io.BytesIO) -> tuple[np.ndarray, int]:
    """The samples, float32, and their rate."""
    import av

    blocks = []
    with av.open(file) as source:
        converter = av.AudioResampler(format="flt", layout="mono")
        for frame in source.decode(audio=0):
            frame.pts = None
            blocks += converter.resample(frame)
        blocks += converter.resample(None)
        return np.concatenate([block.to_ndarray()[0] for block in blocks]), source.streams.audio[0].rate
