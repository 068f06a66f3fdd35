"""Clips as they stand in a page: an mp3 and a small spectrogram, both as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np

from ser.audio import SAMPLE_RATE

LONGEST_SECONDS = 15
SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT = 200, 64


def as_mp3(wave: np.ndarray) -> str:
    """A float32 wave (T,) at 16 kHz, its first 15 s, as a data URI: about 4 kB a second."""
    import soundfile

    buffer = io.BytesIO()
    samples = np.clip(wave[: LONGEST_SECONDS * SAMPLE_RATE], -1, 1)
    soundfile.write(buffer, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.9)
    return _data_uri("audio/mpeg", buffer.getvalue())


def as_spectrogram(wave: np.ndarray) -> str:
    """The log-mel spectrogram of a wave's first 15 s as a PNG data URI, 64 mel bands high."""
    from PIL import Image

    from ser.features.spectral import TOP_DB, Spectrum, log_mel

    level = log_mel(wave[: LONGEST_SECONDS * SAMPLE_RATE], Spectrum(mels=SPECTROGRAM_HEIGHT)).numpy().T[::-1]
    grey = (255 * (1 + (level - level.max()) / TOP_DB)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(grey).resize((SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT)).convert("P")
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


def _palette() -> list[int]:
    from matplotlib import colormaps

    return (colormaps["magma"](np.arange(256))[:, :3] * 255).astype(int).ravel().tolist()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
