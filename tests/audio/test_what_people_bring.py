"""Audio as people bring it: joined, begun midway, with junk in front, broken off, with lengths that nobody knew, with several tracks."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from ser.audio import SAMPLE_RATE, decode
from ser.audio.stream import AudioStream
from sounds import cut, tone, write_ffmpeg, write_wav

COVER = np.random.default_rng(0).bytes(40_000)  # what a picture looks like to somebody who looks for frames


def encoded(
    container: str, codec: str, rate: int = 16_000, layout: str = "mono", seconds: float = 1.0, options: dict | None = None
) -> bytes:
    """The bytes of a tone in some container."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as target:
        sound = target.add_stream(codec, rate=rate, layout=layout)
        channels = sound.codec_context.layout.nb_channels
        wave = np.repeat((tone(seconds, rate) * 32767).astype(np.int16), channels)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    return file.getvalue()


def id3(size: int, filling: bytes) -> bytes:
    return b"ID3\4\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + filling


def packed(container: str, rate: int = 16_000, channels: int = 1, seconds: float = 1.0) -> bytes:
    """The bytes of a tone written by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone(seconds, rate)] * channels, axis=1), rate, format=container)
    return file.getvalue()


def read(folder: Path, name: str, data: bytes):
    (folder / name).write_bytes(data)
    return decode(folder / name)


def heard(path: Path, audio_track: int | None = None) -> tuple[np.ndarray, AudioStream]:
    stream = AudioStream(path, audio_track)
    return np.concatenate([np.zeros(0, np.int16), *stream]), stream


NO_XING = {"write_xing": "0", "id3v2_version": "0"}
JOINED = {
    "mp3 with their Xing tags": ("a.mp3", [packed("MP3"), packed("MP3")]),
    "mp3 of another rate": ("a.mp3", [encoded("mp3", "libmp3lame", 44_100), encoded("mp3", "libmp3lame", 48_000)]),
    "mp3 with other channels": ("a.mp3", [packed("MP3", 44_100, 2), packed("MP3", 44_100, 1), packed("MP3", 22_050, 1)]),
    "mp3 with a cover picture between": ("a.mp3", [encoded("mp3", "libmp3lame", options=NO_XING), id3(len(COVER), COVER) + packed("MP3")]),
    "Opus": ("a.opus", [encoded("ogg", "libopus", 48_000), encoded("ogg", "libopus", 48_000)]),
    "Vorbis of another rate": ("a.ogg", [packed("OGG"), packed("OGG", 44_100, 2)]),
    "wav": ("a.wav", [packed("WAV"), packed("WAV", 8_000), packed("WAV", 44_100, 2)]),
    "FLAC": ("a.flac", [packed("FLAC"), packed("FLAC", 22_050)]),
    "AAC": ("a.aac", [encoded("adts", "aac", 44_100), id3(len(COVER), COVER) + encoded("adts", "aac", 24_000)]),
    "m4a": ("a.m4a", [encoded("ipod", "aac", 44_100), encoded("ipod", "aac", 44_100)]),
    "avi of another rate": ("a.avi", [encoded("avi", "pcm_s16le"), encoded("avi", "pcm_s16le", 22_050, "stereo")]),
    "webm": ("a.webm", [encoded("webm", "libopus", 48_000), encoded("webm", "libopus", 48_000)]),
    "webm of a browser": ("a.webm", [encoded("webm", "libopus", 48_000, options={"live": "1"})] * 2),
    "transport streams of another layout": ("a.ts", [encoded("mpegts", "ac3", 48_000, "stereo"), encoded("mpegts", "ac3", 48_000, "5.1")]),
    "flv": ("a.flv", [encoded("flv", "aac", 44_100), encoded("flv", "aac", 22_050)]),
    "TTA": ("a.tta", [encoded("tta", "tta")] * 2),
    "WavPack": ("a.wv", [encoded("wv", "wavpack", 16_000), encoded("wv", "wavpack", 44_100, "stereo")]),
    "VOC": ("a.voc", [encoded("voc", "pcm_s16le")] * 2),
    "CAF": ("a.caf", [encoded("caf", "pcm_s16le"), encoded("caf", "pcm_s16le", 44_100, "stereo")]),
    "AIFF": ("a.aiff", [packed("AIFF"), packed("AIFF", 22_050)]),
    "Wave64": ("a.w64", [packed("W64"), packed("W64", 44_100, 2)]),
    "ASF": ("a.asf", [encoded("asf", "pcm_s16le"), encoded("asf", "pcm_s16le", 44_100)]),
}  # fmt: skip


@pytest.mark.parametrize("kind", JOINED)
def test_joined_files_are_read_whole(kind, tmp_path):
    name, pieces = JOINED[kind]
    clip = read(tmp_path, name, b"".join(pieces))
    assert clip.usable, clip.detail
    assert len(clip.samples) / SAMPLE_RATE == pytest.approx(len(pieces), abs=0.12 * len(pieces))
    for second in range(len(pieces)):  # each second is a tone, none silence
        assert np.abs(clip.samples[second * SAMPLE_RATE + 3200 : second * SAMPLE_RATE + 12_800]).max() > 5000


def test_a_joined_recording_is_streamed_whole_too(tmp_path):
    (tmp_path / "a.opus").write_bytes(encoded("ogg", "libopus", 48_000) * 2)
    samples, stream = heard(tmp_path / "a.opus")
    assert (len(samples) / SAMPLE_RATE, stream.status) == (pytest.approx(2.0, abs=0.05), "ok")


def test_a_changed_rate_is_named(tmp_path):
    clip = read(tmp_path, *("a.wav", packed("WAV", 44_100) + packed("WAV", 48_000, 2)))
    assert clip.detail == "1, then 2 channels; 44100, then 48000 Hz"


FRONTS = {
    "nothing": b"",
    "zeros": bytes(5_000),
    "many zeros": bytes(120_000),
    "ID3": id3(2_000, bytes(2_000)),
    "ID3 and padding that it doesn't count": id3(2_000, bytes(2_000)) + bytes(4_000),
    "two ID3 tags": id3(500, bytes(500)) * 2,
    "a cover picture": id3(len(COVER), COVER),
    "a cover picture longer than its tag says": id3(500, bytes(500)) + COVER,
    "an APE tag": b"APETAGEX" + struct.pack("<IIII", 2000, 5_032, 1, 0xA0000000) + bytes(8) + b"x" * 5_000,
    "the answer of a radio's server": b"ICY 200 OK\r\nicy-name: radio\r\n\r\n",
    "half a frame": COVER[:300],
}


@pytest.mark.parametrize("front", FRONTS)
def test_an_mp3_begins_with_its_first_frame(front, tmp_path):
    clip = read(tmp_path, "a.mp3", FRONTS[front] + encoded("mp3", "libmp3lame", 44_100, options=NO_XING))
    assert (clip.status, clip.notes) == ("resampled", ("resampled",)), clip.detail
    assert clip.seconds == pytest.approx(1.0, abs=0.06)


def test_an_aac_stream_may_have_a_tag_or_junk_in_front(tmp_path):
    for front in (id3(100, bytes(100)), id3(len(COVER), COVER) * 2, bytes(5_000), COVER[:300]):
        clip = read(tmp_path, "a.aac", front + encoded("adts", "aac", 44_100))
        assert (clip.status, clip.seconds) == ("resampled", pytest.approx(1.0, abs=0.1)), clip.detail


def test_frames_lost_in_the_middle_are_told(tmp_path):
    data = encoded("mp3", "libmp3lame", 44_100, seconds=3.0, options=NO_XING)
    clip = read(tmp_path, "a.mp3", data[:9_000] + data[9_700:])
    assert (clip.status, clip.usable) == ("incomplete", True)
    assert "are no sound" in clip.detail


@pytest.mark.parametrize("text", ["안녕하세요, 오늘은 날씨가 좋네요. " * 50, "plain text " * 200])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_text_is_no_mp3(text, encoding, tmp_path):
    assert read(tmp_path, "a.mp3", text.encode(encoding)).status == "undecodable"


UNKNOWN = [0, 2**31 - 1, 2**31, 2**31 - 36, 0x7FFFF000, 2**31 + 8, 2**32 - 1, 2**32 - 101, 2**32 - 256, 2**32 - 37]


@pytest.mark.parametrize("length", UNKNOWN)
def test_a_riff_length_that_nobody_knew_means_to_the_end(length, tmp_path):
    data = bytearray(write_wav(tmp_path / "a.wav", tone()).read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", length)
    clip = read(tmp_path, "a.wav", bytes(data))
    assert (clip.status, len(clip.samples)) == ("ok", SAMPLE_RATE), clip.detail


@pytest.mark.parametrize("length", [0, 32_000, 2**63 - 1, 2**64 - 1])
def test_an_rf64_length_that_nobody_knew_means_to_the_end(length, tmp_path):
    samples = (tone() * 32767).astype("<i2").tobytes()
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, length, length, length, 0)
    chunks = ds64 + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data\xff\xff\xff\xff" + samples
    clip = read(tmp_path, "a.wav", b"RF64\xff\xff\xff\xffWAVE" + chunks)
    assert (clip.status, len(clip.samples)) == ("ok", SAMPLE_RATE), clip.detail


@pytest.mark.parametrize("length", [188, 192, 204])
@pytest.mark.parametrize("codec", ["ac3", "aac"])
def test_a_transport_stream_may_have_any_packet_length_and_begin_midway(length, codec, tmp_path):
    plain = encoded("mpegts", codec, 48_000, "stereo", 3.0)
    packets = [plain[at : at + 188] for at in range(0, len(plain), 188)]
    data = b"".join({188: b"", 192: b"\0\1\2\3"}.get(length, b"") + packet + bytes(16 * (length == 204)) for packet in packets)
    whole, midway = read(tmp_path, "a.m2ts", data), read(tmp_path, "b.ts", data[len(data) // 3 + 77 :])
    assert whole.status == "downmixed", whole.detail
    assert whole.seconds == pytest.approx(3.0, abs=0.1)
    assert midway.usable, midway.detail
    assert 1.0 < midway.seconds < 2.1


BROKEN = {
    "wav": lambda folder: write_wav(folder / "a.wav", tone(4.0)),
    "mkv": lambda folder: write_ffmpeg(folder / "a.mkv", tone(4.0), 16_000, "matroska", "aac"),
    "webm": lambda folder: write_ffmpeg(folder / "a.webm", tone(4.0, 48_000), 48_000, "webm", "libopus"),
    "avi": lambda folder: write_ffmpeg(folder / "a.avi", tone(4.0), 16_000, "avi", "pcm_s16le"),
    "flac": lambda folder: write_ffmpeg(folder / "a.flac", tone(4.0), 16_000, "flac", "flac"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_broken_off_says_how_much_of_it_there_is(kind, tmp_path):
    path = cut(BROKEN[kind](tmp_path), 0.6)
    samples, stream = heard(path)
    seconds = len(samples) / SAMPLE_RATE
    assert 1.0 < seconds < 3.5
    assert stream.status == "truncated"
    assert "the header promises" in stream.detail
    assert f"{seconds:.1f} s" in stream.detail
    assert decode(path).status == "truncated"


def test_a_film_whose_sound_is_shorter_than_its_picture_is_whole(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", format="matroska") as target:
        sound, picture = target.add_stream("pcm_s16le", rate=16_000, layout="mono"), target.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            target.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        target.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray((tone(2.0) * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        target.mux(sound.encode(frame))
    assert decode(path).status == "ok"


def film_of_two_tracks(path: Path, default: int) -> Path:
    """Track 1 is 200 Hz, track 2 is 400 Hz."""
    with av.open(str(path), "w", format="matroska") as target:
        tracks = [target.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for number, (track, language) in enumerate(zip(tracks, ("eng", "kor"), strict=True), start=1):
            track.metadata["language"] = language
            track.disposition = av.stream.Disposition.default if number == default else 0
        for track, hertz in zip(tracks, (200, 400), strict=True):
            wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(32_000) / 16_000)
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 0
            target.mux(track.encode(frame))
    return path


def hertz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(("default", "wanted", "expected"), [(1, None, 200), (2, None, 400), (2, 1, 200), (1, 2, 400)])
def test_the_track_a_player_would_take_is_heard_and_named(default, wanted, expected, tmp_path):
    samples, stream = heard(film_of_two_tracks(tmp_path / "a.mkv", default), wanted)
    assert hertz(samples) == pytest.approx(expected, abs=1)
    assert stream.track.startswith(f"audio track {expected // 200} ({'eng' if expected == 200 else 'kor'}")
    if wanted is None:
        clip = decode(tmp_path / "a.mkv")
        assert hertz(clip.samples) == pytest.approx(expected, abs=1)
        assert "several_tracks" in clip.notes


def test_a_track_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    _, stream = heard(film_of_two_tracks(tmp_path / "a.mkv", 1), 3)
    assert (stream.status, stream.detail) == ("undecodable", "audio track 3 is wanted, there are 2: 1 (eng, default); 2 (kor)")
