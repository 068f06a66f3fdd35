"""Decoding: the right status for every kind of file, the right samples, and no file that can stop it."""

from __future__ import annotations

import os
import signal
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import librosa
import numpy as np
import psutil
import pytest
import scipy.signal
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from broken import VICTIMS, broken_bytes, examples
from ser.audio import SAMPLE_RATE, STATUSES, UNUSABLE, decode, decode_all, pool, to_float
from ser.audio.pool import Decoders, Worker
from ser.runtime.processors import processors
from sounds import KINDS, STEREO, cut, tone, write_ffmpeg, write_soundfile, write_wav


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gets_its_status(name, tmp_path):
    kind = KINDS[name]
    clip = decode(kind.make(tmp_path))
    assert (clip.status, clip.notes) == (kind.status, kind.notes), clip.detail
    assert (clip.samples is None) == (kind.status in UNUSABLE), "an unusable file has no samples, not even zeros"
    assert clip.detail or not clip.notes, "every note says why"
    if clip.usable:
        assert clip.source_rate == kind.rate
        assert clip.seconds == pytest.approx(kind.seconds, abs=0.1)  # encoders pad by a frame or two
        assert len(clip.samples) == pytest.approx(min(15.0, clip.seconds) * SAMPLE_RATE, abs=1)


def test_every_status_is_produced_by_some_file():
    assert {kind.status for kind in KINDS.values()} == set(STATUSES)


@pytest.fixture
def not_root():
    """Root may read everything: what it decodes here is decoded as nobody."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("running as root and not allowed to become anybody else")
    yield
    os.seteuid(0)


def test_unreadable_permissions_are_reported(tmp_path, request):
    path = write_wav(tmp_path / "secret.wav", tone())
    path.chmod(0)
    request.getfixturevalue("not_root")
    clip = decode(path)
    assert (clip.status, clip.detail) == ("undecodable", "no permission to read it")


def test_a_reason_the_system_gives_for_not_opening_a_file_is_passed_on(tmp_path):
    clip = decode(tmp_path / ("n" * 300 + ".wav"))
    assert clip.status == "undecodable"
    assert clip.detail == "File name too long"


def test_sixteen_bit_mono_samples_are_taken_over_unchanged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 20_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="PCM_16")
    np.testing.assert_array_equal(decode(tmp_path / "a.wav").samples, samples)
    np.testing.assert_array_equal(to_float(samples), soundfile.read(tmp_path / "a.wav", dtype="float32")[0])


def test_rounding_is_to_the_nearest_step_and_saturates(tmp_path):
    steps = np.array([0.4, 0.6, -0.4, -0.6, 1000.51, 40_000.0, -40_000.0, 32_767.4, -32_768.0])
    wave = np.concatenate([tone(), steps / 32768])
    clip = decode(write_wav(tmp_path / "a.wav", wave, subtype="FLOAT"))
    assert clip.samples[-9:].tolist() == [0, 1, 0, -1, 1001, 32_767, -32_768, 32_767, -32_768]


def test_to_float_stays_below_one():
    wave = to_float(np.array([-32768, 0, 32767], np.int16))
    assert wave.dtype == np.float32
    assert wave.tolist() == [-1.0, 0.0, 32767 / 32768]


def test_downmix_is_the_mean_of_the_channels(tmp_path):
    clip = decode(write_wav(tmp_path / "a.wav", STEREO, subtype="FLOAT"))
    np.testing.assert_allclose(to_float(clip.samples), STEREO.mean(axis=1), atol=0.51 / 32768)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_tone_and_agrees_with_other_resamplers(rate, tmp_path):
    source = tone(3.0, rate=rate, hz=440)
    clip = decode(write_wav(tmp_path / "a.wav", source, rate, "FLOAT"))
    wave = to_float(clip.samples)
    assert len(wave) == 3 * SAMPLE_RATE
    np.testing.assert_allclose(wave, soxr.resample(source, rate, SAMPLE_RATE, quality="VHQ"), atol=0.02)
    ours = scipy.signal.welch(wave, SAMPLE_RATE, nperseg=4096)[1]
    other = librosa.resample(source, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="polyphase")
    theirs = scipy.signal.welch(other, SAMPLE_RATE, nperseg=4096)[1]
    loud = theirs > theirs.max() * 1e-3
    np.testing.assert_allclose(ours[loud], theirs[loud], rtol=0.05)


def test_a_cut_clip_is_the_beginning_of_the_whole_one(tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(40.0, rate=44_100), 44_100)
    whole, short = decode(path, max_seconds=60.0), decode(path, max_seconds=7.0)
    assert short.status == "too_long"
    assert short.seconds == pytest.approx(40.0)
    np.testing.assert_array_equal(short.samples, whole.samples[: 7 * SAMPLE_RATE])


def test_resampling_block_by_block_equals_resampling_at_once(tmp_path):
    wave = tone(30.0, rate=44_100)
    path = write_wav(tmp_path / "a.wav", np.stack([wave, wave], axis=1), 44_100, "FLOAT")
    at_once = soxr.resample(wave, 44_100, SAMPLE_RATE, quality="HQ")
    assert np.abs(decode(path, max_seconds=60.0).samples - at_once * 32768).max() < 0.6


@pytest.mark.parametrize("length", [14.99, 15.0, 15.01, 16.0, 17.0])
def test_only_clips_longer_than_the_limit_are_cut(length, tmp_path):
    clip = decode(write_wav(tmp_path / "a.wav", tone(length)), max_seconds=15.0)
    assert clip.status == ("too_long" if length > 15 else "ok")
    assert clip.seconds == pytest.approx(length)
    assert len(clip.samples) == round(min(length, 15.0) * SAMPLE_RATE)


@pytest.mark.parametrize("length", [0.099, 0.1, 0.101])
def test_only_clips_shorter_than_the_limit_are_too_short(length, tmp_path):
    assert decode(write_wav(tmp_path / "a.wav", tone(length)), min_seconds=0.1).usable == (length >= 0.1)


def test_formats_carry_the_same_sound(tmp_path):
    """Gapless by construction or by header: a lossy copy lines up with the wav it came from."""
    wave = tone(2.0)
    copies = [
        write_soundfile(tmp_path / "a.flac", wave, 16_000, "FLAC"),
        write_soundfile(tmp_path / "a.ogg", wave, 16_000, "OGG"),
        write_soundfile(tmp_path / "a.mp3", wave, 16_000, "MP3"),
        write_ffmpeg(tmp_path / "a.m4a", wave, 16_000, "ipod", "aac"),
        write_ffmpeg(tmp_path / "a.mkv", wave, 16_000, "matroska", "pcm_s16le", video=True),
    ]
    for path in copies:
        copy = to_float(decode(path).samples)[1600:30_400]
        assert np.corrcoef(copy, wave[1600:30_400])[0, 1] > 0.99, path.name


def test_a_two_hour_file_costs_no_more_memory_than_a_clip(tmp_path):
    path = write_wav(tmp_path / "film.wav", tone(20.0))
    with path.open("r+b") as file:  # two hours in the header, a hole in the file system where the rest would be
        file.seek(40)
        file.write((7200 * 32_000).to_bytes(4, "little"))
        file.truncate(44 + 7200 * 32_000)
    tracemalloc.start()
    clip = decode(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (clip.status, clip.seconds, len(clip.samples)) == ("too_long", 7200.0, 15 * SAMPLE_RATE)
    assert peak < 20e6


def test_a_damaged_middle_is_never_passed_over(tmp_path):
    """FLAC and Ogg carry checksums: what fails them is left out by decoders without a word."""
    for name, container in [("a.flac", "FLAC"), ("a.ogg", "OGG")]:
        path = write_soundfile(tmp_path / name, tone(5.0), 16_000, container)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        clip = decode(path)
        assert (clip.status, clip.samples) == ("truncated", None)
        assert "the header promises 80,000 samples" in clip.detail


@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0WAVE", b"\0\0\0\x08free"])
def test_a_header_without_end_is_given_up(head, tmp_path):
    """A gigabyte of empty chunks; walking all of them would take minutes."""
    path = tmp_path / "a.wav"
    path.write_bytes(head + b"\0\0\0\x08free" * 200_000)
    os.truncate(path, 2**30)
    started = time.perf_counter()
    assert decode(path).status == "undecodable"
    assert time.perf_counter() - started < 20


def test_a_header_that_is_a_few_bytes_off_is_no_truncation(tmp_path):
    assert decode(cut(write_wav(tmp_path / "a.wav", tone()), 0.9995)).status == "ok"


def test_anti_phase_channels_are_named_as_the_reason_for_silence(tmp_path):
    assert "anti-phase" in decode(KINDS["anti-phase"].make(tmp_path)).detail
    assert "anti-phase" not in decode(write_wav(tmp_path / "b.wav", np.zeros((16_000, 2)))).detail


def test_levels_are_those_of_a_sine(tmp_path):
    sine = 0.5 * np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000)
    clip = decode(write_wav(tmp_path / "a.wav", sine + 0.25))
    assert clip.peak_db == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert clip.rms_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)


def test_a_bare_aac_stream_is_read(tmp_path):
    clip = decode(write_ffmpeg(tmp_path / "a.aac", tone(1.0, rate=44_100), 44_100, "adts", "aac"))
    assert (clip.status, clip.source_rate) == ("resampled", 44_100)
    assert clip.seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\nsecret.wav\n", "ffconcat version 1.0\nfile secret.wav\n"])
def test_a_playlist_can_not_open_other_files(text, tmp_path):
    write_wav(tmp_path / "secret.wav", tone())
    (tmp_path / "list.wav").write_text(text)
    assert decode(tmp_path / "list.wav").status == "undecodable"


def test_more_than_eight_channels_are_mixed(tmp_path):
    """PyAV reads beyond its memory on planar frames of more than eight channels."""
    clip = decode(write_wav(tmp_path / "a.wav", np.stack([tone()] * 16, axis=1)))
    assert (clip.status, clip.source_channels) == ("downmixed", 16)
    with av.open(str(tmp_path / "b.mka"), "w", format="matroska") as target:
        sound = target.add_stream("pcm_s16le", rate=16_000, layout="hexadecagonal")
        frame = av.AudioFrame.from_ndarray(np.repeat(clip.samples, 16)[None], format="s16", layout="hexadecagonal")
        frame.sample_rate, frame.pts = 16_000, 0
        target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    other = decode(tmp_path / "b.mka")
    np.testing.assert_array_equal(other.samples, clip.samples)


# Many files, in processes


def test_decode_all_gives_what_decode_gives_in_order(tmp_path):
    paths = [make_in(tmp_path / str(number), kind.make) for number, kind in enumerate(KINDS.values())]
    for path, clip in zip(paths, decode_all(paths), strict=True):
        expected = decode(path)
        assert (clip.status, clip.notes, clip.detail, clip.seconds) == (expected.status, expected.notes, expected.detail, expected.seconds)
        np.testing.assert_array_equal(clip.samples, expected.samples)


def test_decode_all_of_nothing_is_nothing():
    assert list(decode_all([])) == []


def test_names_that_are_no_utf8_reach_the_decoder(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xb3.m4a")
    Path(path).write_bytes(KINDS["m4a"].make(tmp_path).read_bytes())
    assert next(decode_all([path])).status == "ok"
    assert next(decode_all([path + "\n.wav"])).status == "missing"


def test_a_worker_that_was_killed_is_started_again(tmp_path):
    path = KINDS["wav"].make(tmp_path)
    worker = Worker()
    assert worker.decode(path).status == "ok"
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.decode(path).status == "ok"
    worker.close()


def test_decoding_processes_stay_for_the_next_file_and_are_shared_by_threads(tmp_path):
    paths = [write_wav(tmp_path / f"{number}.wav", tone(0.2 + number / 10)) for number in range(12)]
    decoders, children = Decoders(), psutil.Process().children
    before = set(children())
    decoders.start()
    (started,) = set(children()) - before
    assert next(decoders.decode_all(paths[:1])).seconds == pytest.approx(0.2)
    assert set(children()) - before == {started}
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda path: next(decoders.decode_all([path], max_seconds=1.0)), paths))
    assert [clip.seconds for clip in found] == pytest.approx([0.2 + number / 10 for number in range(12)])
    assert len(found[-1].samples) == 16_000, "each file has its own settings"
    assert len(set(children()) - before) <= processors()
    decoders.close()
    assert set(children()) == before
    assert next(decoders.decode_all(paths[:1])).status == "ok", "started again"
    decoders.close()


def test_a_forked_process_does_not_ask_its_parents_decoder(tmp_path):
    path, worker = write_wav(tmp_path / "a.wav", tone()), Worker()
    assert worker.decode(path).status == "ok"
    asked = worker.process.pid
    child = os.fork()
    if not child:
        try:
            fine = worker.decode(path).status == "ok" and worker.process.pid != asked and not worker.close()
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert worker.decode(path).status == "ok" and worker.process.pid == asked
    worker.close()


def test_a_file_that_crashes_or_hangs_its_decoder_costs_only_itself(tmp_path, monkeypatch):
    """The decoders of the worker processes are given two such faults; crashing files for the real ones come and go with versions."""
    (tmp_path / "sitecustomize.py").write_text(FAULTY_SOUNDFILE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(pool, "SECONDS_PER_FILE", 1)
    paths = [write_wav(tmp_path / name, tone()) for name in ("a.wav", "crash.wav", "b.wav", "hang.wav", "c.wav")]
    clips = list(decode_all(paths))
    assert [clip.status for clip in clips] == ["ok", "undecodable", "ok", "undecodable", "ok"]
    assert "crashes the decoder (SIGSEGV)" in clips[1].detail
    assert "not decoded within 1 s" in clips[3].detail


FAULTY_SOUNDFILE = """
import os, signal, time
import soundfile
real = soundfile.SoundFile
def faulty(file, *arguments, **named):
    name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in name:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while True:
            pass
    return real(file, *arguments, **named)
soundfile.SoundFile = faulty
"""


def test_a_decoding_process_that_can_not_start_is_an_error_not_a_bad_file(tmp_path, monkeypatch):
    (tmp_path / "soxr.py").write_text("raise ImportError('broken installation')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="doesn't start"):
        list(decode_all([KINDS["wav"].make(tmp_path)]))


# Damaged files of every format


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


@given(victim=st.sampled_from(VICTIMS), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=examples(200), deadline=None, derandomize=True)
def test_damaged_headers_end_in_a_status(worker, tmp_path_factory, victim, seed):
    check_damaged(worker, tmp_path_factory, victim, seed)


@pytest.mark.slow
@given(victim=st.sampled_from(VICTIMS), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=examples(2000), deadline=None)
def test_two_thousand_damaged_headers_end_in_a_status(worker, tmp_path_factory, victim, seed):
    check_damaged(worker, tmp_path_factory, victim, seed)


def check_damaged(worker: Worker, tmp_path_factory, victim: str, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(broken_bytes(victim, seed))
    clip = worker.decode(path)
    assert clip.status in STATUSES
    assert set(clip.notes) <= {*STATUSES, "wrong_extension", "several_tracks"}
    assert (clip.samples is None) == (clip.status in UNUSABLE)
    if clip.usable:
        assert 0.1 * SAMPLE_RATE <= len(clip.samples) <= 15 * SAMPLE_RATE
        assert len(np.unique(clip.samples)) > 1
    else:
        assert clip.detail


def make_in(folder: Path, make) -> Path:
    folder.mkdir()
    return make(folder)
