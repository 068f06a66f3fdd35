"""Small audio files of every kind, good and bad, made for tests.

`KINDS` names them: `KINDS["stereo"].make(folder)` writes one and returns its path; `.status` and `.notes` are what decoding
must say about it.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile


def tone(seconds: float = 1.0, rate: int = 16_000, hz: float = 220.0, level: float = 0.3, seed: int = 0) -> np.ndarray:
    """A tone with two overtones, a slow swell and a little noise: float32 (T,), peak about `level`."""
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * hz * part * time) / part for part in (1, 2, 3)) / 1.6
    swell = 0.7 + 0.3 * np.sin(2 * np.pi * 3 * time)
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
    return (level * (wave * swell + noise)).astype(np.float32)


def write_wav(path: Path, wave: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    """Write float samples (T,) or (T, channels) as a wav, whatever the file is called."""
    soundfile.write(path, wave, rate, format="WAV", subtype=subtype)
    return path


def write_soundfile(path: Path, wave: np.ndarray, rate: int, container: str) -> Path:
    """Write FLAC, OGG (Vorbis) or MP3 by libsndfile, in blocks: it overflows its stack on a long Ogg written at once."""
    with soundfile.SoundFile(path, "w", rate, 1 if wave.ndim == 1 else wave.shape[1], format=container) as file:
        for start in range(0, len(wave), 4096):
            file.write(wave[start : start + 4096])
    return path


def write_ffmpeg(path: Path, wave: np.ndarray, rate: int, container: str, codec: str | None, video: bool = False) -> Path:
    """Write mono samples by PyAV, with a small moving picture beside them on request; codec None is a film without sound."""
    import av

    with av.open(str(path), "w", format=container) as target:
        sound = target.add_stream(codec, rate=rate, layout="mono") if codec else None
        if video:
            picture = target.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
            for number in range(round(len(wave) / rate * 10)):
                image = np.full((48, 64, 3), number * 20 % 256, np.uint8)
                target.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            target.mux(picture.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray((wave[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            target.mux(sound.encode(frame))
            target.mux(sound.encode(None))
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    """Throw away the end of a file."""
    os.truncate(path, int(path.stat().st_size * share))
    return path


def alter(path: Path, offset: int, data: bytes) -> Path:
    """Overwrite some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


@dataclass(frozen=True)
class Kind:
    """A kind of file: how to make one in a folder, and what decoding (0.1 to 15 s) must say about it."""

    make: Callable[[Path], Path]
    status: str
    notes: tuple[str, ...]
    rate: int = 16_000
    seconds: float = 1.0


def _wav(name: str, wave: np.ndarray, *, rate: int = 16_000, subtype: str = "PCM_16") -> Callable[[Path], Path]:
    return lambda folder: write_wav(folder / name, wave, rate, subtype)


def _bytes(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _with(*values: float) -> np.ndarray:
    wave = tone()
    wave[8000 : 8000 + len(values)] = values
    return wave


def _link(name: str, target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def _folder(folder: Path) -> Path:
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.wav")
    return folder / "pipe.wav"


def _film(name: str, codec: str | None) -> Callable[[Path], Path]:
    return lambda folder: write_ffmpeg(folder / name, tone(), 16_000, "mp4", codec, video=True)


def _ffmpeg(name: str, container: str, codec: str, rate: int = 16_000) -> Callable[[Path], Path]:
    return lambda folder: write_ffmpeg(folder / name, tone(rate=rate), rate, container, codec)


def _soundfile(name: str, container: str, wave: np.ndarray | None = None, rate: int = 16_000) -> Callable[[Path], Path]:
    return lambda folder: write_soundfile(folder / name, tone(rate=rate) if wave is None else wave, rate, container)


def _cut(make: Callable[[Path], Path], share: float = 0.5) -> Callable[[Path], Path]:
    return lambda folder: cut(make(folder), share)


def _altered(name: str, offset: int, data: bytes) -> Callable[[Path], Path]:
    return lambda folder: alter(write_wav(folder / name, tone()), offset, data)


def _tagged(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Put an ID3v2 tag of 10 + 1000 bytes in front, as taggers do."""

    def tag(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(b"ID3\4\0\0" + bytes([0, 0, 1000 >> 7, 1000 & 127]) + bytes(1000) + path.read_bytes())
        return path

    return tag


STEREO = np.stack([tone(), tone(hz=330)], axis=1)
CLIPPED = np.clip(tone(level=2.0), -1, 1)

KINDS = {
    "wav": Kind(_wav("a.wav", tone()), "ok", ()),
    "24 bit": Kind(_wav("a24.wav", tone(), subtype="PCM_24"), "ok", ()),
    "32 bit": Kind(_wav("a32.wav", tone(), subtype="PCM_32"), "ok", ()),
    "8 bit": Kind(_wav("a8.wav", tone(), subtype="PCM_U8"), "ok", ()),
    "float": Kind(_wav("afloat.wav", tone(), subtype="FLOAT"), "ok", ()),
    "double": Kind(_wav("adouble.wav", tone(), subtype="DOUBLE"), "ok", ()),
    "mu-law": Kind(_wav("aulaw.wav", tone(), subtype="ULAW"), "ok", ()),
    "8 kHz": Kind(_wav("a8k.wav", tone(rate=8_000), rate=8_000), "resampled", ("resampled",), 8_000),
    "44.1 kHz": Kind(_wav("a44k.wav", tone(rate=44_100), rate=44_100), "resampled", ("resampled",), 44_100),
    "48 kHz": Kind(_wav("a48k.wav", tone(rate=48_000), rate=48_000), "resampled", ("resampled",), 48_000),
    "stereo": Kind(_wav("stereo.wav", STEREO), "downmixed", ("downmixed",)),
    "stereo 48 kHz": Kind(
        _wav("stereo48.wav", np.stack([tone(rate=48_000)] * 2, axis=1), rate=48_000), "downmixed", ("downmixed", "resampled"), 48_000
    ),
    "anti-phase": Kind(_wav("antiphase.wav", np.stack([tone(), -tone()], axis=1)), "silent", ("silent", "downmixed")),
    "clipped": Kind(_wav("clipped.wav", CLIPPED), "clipped", ("clipped",)),
    "clipped 8 bit": Kind(_wav("clipped8.wav", CLIPPED, subtype="PCM_U8"), "clipped", ("clipped",)),
    "float beyond full scale": Kind(_wav("loud.wav", tone(level=2.0), subtype="FLOAT"), "clipped", ("clipped",)),
    "one sample at full scale": Kind(_wav("normalised.wav", _with(1.0)), "ok", ()),
    "10 min": Kind(_wav("long.wav", np.tile(tone(), 600)), "too_long", ("too_long",), seconds=600.0),
    "10 ms": Kind(_wav("short.wav", tone(0.01)), "too_short", ("too_short",), seconds=0.01),
    "zero samples": Kind(_wav("none.wav", tone(0)), "too_short", ("too_short",), seconds=0.0),
    "zero bytes": Kind(_bytes("empty.wav", b""), "undecodable", ("undecodable",)),
    "text": Kind(_bytes("text.wav", b"this is no audio\n" * 100), "undecodable", ("undecodable",)),
    "silence": Kind(_wav("silence.wav", np.zeros(16_000)), "silent", ("silent",)),
    "constant": Kind(_wav("constant.wav", np.full(16_000, 0.5)), "silent", ("silent",)),
    "below -60 dBFS": Kind(_wav("faint.wav", tone(level=0.0005), subtype="PCM_24"), "silent", ("silent",)),
    "above -60 dBFS": Kind(_wav("quiet.wav", tone(level=0.003), subtype="PCM_24"), "ok", ()),
    "NaN": Kind(_wav("nan.wav", _with(np.nan), subtype="FLOAT"), "non_finite", ("non_finite",)),
    "Inf": Kind(_wav("inf.wav", _with(np.inf, -np.inf), subtype="FLOAT"), "non_finite", ("non_finite",)),
    "all NaN": Kind(_wav("nans.wav", np.full(16_000, np.nan), subtype="FLOAT"), "non_finite", ("non_finite", "silent")),
    "truncated wav": Kind(_cut(_wav("cut.wav", tone())), "truncated", ("truncated",), seconds=0.5),
    "truncated to its header": Kind(_cut(_wav("cut44.wav", tone()), 44 / 32_044), "truncated", ("truncated", "too_short"), seconds=0.0),
    "streamed wav": Kind(_altered("stream.wav", 40, b"\xff\xff\xff\xff"), "ok", ()),
    "wrong header": Kind(_altered("header.wav", 0, b"\xde\xad\xbe\xef" * 6), "undecodable", ("undecodable",)),
    "impossible rate": Kind(_altered("rate.wav", 24, b"\xff\xff\xff\x7f"), "undecodable", ("undecodable",)),
    "mp3": Kind(_soundfile("a.mp3", "MP3"), "ok", ()),
    "mp3 by ffmpeg": Kind(_ffmpeg("b.mp3", "mp3", "libmp3lame"), "ok", ()),
    "m4a": Kind(_ffmpeg("a.m4a", "ipod", "aac"), "ok", ()),
    "ogg": Kind(_soundfile("a.ogg", "OGG"), "ok", ()),
    "opus": Kind(_ffmpeg("a.opus", "ogg", "libopus", 48_000), "resampled", ("resampled",), 48_000),
    "flac": Kind(_soundfile("a.flac", "FLAC"), "ok", ()),
    "flac by ffmpeg": Kind(_ffmpeg("b.flac", "flac", "flac"), "ok", ()),
    "flac with ID3 tag": Kind(_tagged(_soundfile("tagged.flac", "FLAC")), "ok", ()),
    "mp3 with ID3 tag": Kind(_tagged(_soundfile("tagged.mp3", "MP3")), "ok", ()),
    "webm": Kind(_ffmpeg("a.webm", "webm", "libopus", 48_000), "resampled", ("resampled",), 48_000),
    "truncated mp3": Kind(_cut(_soundfile("cut.mp3", "MP3")), "truncated", ("truncated",)),
    "truncated mp3 by ffmpeg": Kind(_cut(_ffmpeg("cutb.mp3", "mp3", "libmp3lame")), "truncated", ("truncated",)),
    "truncated mp3 with ID3 tag": Kind(_cut(_tagged(_soundfile("cutt.mp3", "MP3")), 0.7), "truncated", ("truncated",)),
    "truncated flac": Kind(_cut(_soundfile("cut.flac", "FLAC")), "truncated", ("truncated",)),
    "truncated ogg": Kind(_cut(_soundfile("cut.ogg", "OGG")), "truncated", ("truncated", "too_short")),
    "truncated m4a": Kind(_cut(_ffmpeg("cut.m4a", "ipod", "aac")), "truncated", ("truncated",)),
    "mp3 called wav": Kind(_soundfile("mp3.wav", "MP3"), "ok", ("wrong_extension",)),
    "wav called mp3": Kind(_wav("wav.mp3", tone()), "ok", ("wrong_extension",)),
    "m4a called wav": Kind(_ffmpeg("m4a.wav", "ipod", "aac"), "ok", ("wrong_extension",)),
    "wav without extension": Kind(_wav("plain", tone()), "ok", ("wrong_extension",)),
    "film": Kind(_film("film.mp4", "aac"), "ok", ()),
    "silent film": Kind(_film("mute.mp4", None), "undecodable", ("undecodable",)),
    "Korean name": Kind(_wav(unicodedata.normalize("NFC", "분노_화자1.wav"), tone()), "ok", ()),
    "Korean name, NFD": Kind(_wav(unicodedata.normalize("NFD", "슬픔_화자1.wav"), tone()), "ok", ()),
    "Korean m4a, NFD": Kind(_ffmpeg(unicodedata.normalize("NFD", "기쁨_화자1.m4a"), "ipod", "aac"), "ok", ()),
    "missing": Kind(lambda folder: folder / "nothing.wav", "missing", ("missing",)),
    "folder": Kind(_folder, "undecodable", ("undecodable",)),
    "link to itself": Kind(_link("loop.wav", "loop.wav"), "missing", ("missing",)),
    "dangling link": Kind(_link("dangling.wav", "nowhere.wav"), "missing", ("missing",)),
    "pipe": Kind(_pipe, "undecodable", ("undecodable",)),
    "endless device": Kind(_link("zero.wav", "/dev/zero"), "undecodable", ("undecodable",)),
}  # fmt: skip
