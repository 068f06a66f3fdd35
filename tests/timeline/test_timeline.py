"""Timelines: windows over a stream of blocks, predicted like clips, whatever the recording's length."""

import os

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import make_classifier
from ser.audio import SAMPLE_RATE, decode
from ser.audio.stream import AudioStream
from ser.inference.prediction import Predictor
from ser.runtime.errors import UserError
from ser.timeline import __main__ as timeline
from ser.timeline.windows import cut_windows, predict_timeline
from sounds import cut, tone, write_ffmpeg, write_soundfile, write_wav

EXAMPLES = int(os.environ.get("SER_EXAMPLES", "100"))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor(make_classifier(tmp_path_factory.mktemp("model"), "wav2vec2-layer", ("angry", "sad", "LABEL_2")))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=8), st.integers(1, 10), st.integers(1, 10))
def test_windows_are_the_pieces_of_the_recording_that_a_plain_count_gives(blocks, window, step):
    window, step = max(window, step) / 5, step / 5
    whole = np.arange(sum(blocks), dtype=np.int32)  # values tell where a piece comes from
    length, hop = round(window * SAMPLE_RATE), round(step * SAMPLE_RATE)
    found = list(cut_windows(np.split(whole, np.cumsum(blocks)[:-1]) if blocks else [], window, step))
    starts = list(range(0, len(whole) - length + 1, hop))
    if len(whole) >= length and starts[-1] + length < len(whole):
        starts.append(len(whole) - length)
    if 0.1 * SAMPLE_RATE <= len(whole) < length:
        starts = [0]
    assert [start for start, _ in found] == starts
    for start, piece in found:
        np.testing.assert_array_equal(piece, whole[start : start + length])


@pytest.mark.parametrize("container", ["wav", "mp3", "m4a"])
def test_a_stream_gives_the_samples_that_decoding_gives(tmp_path, container):
    wave, path = tone(40, 22_050), tmp_path / f"x.{container}"
    if container == "m4a":
        write_ffmpeg(path, wave, 22_050, "ipod", "aac")
    else:
        write_soundfile(path, wave, 22_050, container.upper())
    stream = AudioStream(path)
    blocks = list(stream)
    assert len(blocks) > 1
    assert stream.status == "ok"
    assert stream.seconds == pytest.approx(40, abs=0.2)
    np.testing.assert_array_equal(np.concatenate(blocks), decode(path, max_seconds=100).samples)


def test_files_that_end_early_or_hold_nothing_are_named_so(tmp_path):
    good = write_wav(tmp_path / "good.wav", tone(3))
    whole = good.read_bytes()
    (tmp_path / "text.wav").write_text("no sound")
    cases = {
        tmp_path / "nothing.wav": ("missing", 0),
        tmp_path / "text.wav": ("undecodable", 0),
        cut(write_wav(tmp_path / "cut.wav", tone(3)), 0.5): ("truncated", (len(whole) // 2 - 44) // 2),
    }
    for path, (status, samples) in cases.items():
        stream = AudioStream(path)
        assert sum(map(len, stream)) == samples, path
        assert stream.status == status and stream.detail, path


def test_each_window_gets_what_the_same_clip_alone_gets_and_silence_gets_no_emotion(tmp_path, predictor):
    wave = np.concatenate([tone(2, hz=200), np.zeros(3 * SAMPLE_RATE, np.float32), tone(2.2, hz=350, seed=1)])
    path = write_wav(tmp_path / "x.wav", wave)
    samples, _ = soundfile.read(path, dtype="int16")
    found = predict_timeline(predictor, path, window=1.0, step=0.5)
    assert found.status == "ok"
    assert found.seconds == pytest.approx(7.2)
    windows = found.windows
    assert windows["start"].tolist() == [*np.arange(0, 6.1, 0.5), 6.2]
    silent = windows["status"] == "silent"
    assert windows["start"][silent].tolist() == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert windows.loc[silent, ["predicted_emotion", "confidence", "p_sad"]].isna().all(axis=None)
    for row in windows[~silent].itertuples():
        piece = samples[round(row.start * SAMPLE_RATE) : round(row.end * SAMPLE_RATE)]
        alone = predictor.probabilities([piece])[0]
        assert [row.p_angry, row.p_sad, row.p_LABEL_2] == pytest.approx(alone.tolist(), abs=1e-5)
        assert row.predicted_emotion == predictor.label_names[alone.argmax()]
    assert sum(found.shares.values()) == pytest.approx(1)


def test_memory_does_not_grow_with_the_recording(tmp_path, predictor, monkeypatch):
    """Half an hour of 8 kHz passes through in blocks and batches; what is held is a window, a block and a batch."""
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for minute in range(30):
            file.write(tone(60, 8_000, hz=150 + minute))
    sizes = []

    def remember(batch):
        sizes.append(sum(map(len, batch)))
        return np.tile([0.5, 0.3, 0.2], (len(batch), 1))

    monkeypatch.setattr(predictor, "probabilities", remember)
    found = predict_timeline(predictor, path)
    assert found.seconds == pytest.approx(1800)
    assert len(found.windows) == 719
    assert max(sizes) <= 16 * 5 * SAMPLE_RATE


def test_impossible_windows_are_refused_with_what_is_allowed(tmp_path, predictor):
    for window, step in ((20, None), (0.01, None), (2, 3), (2, 0)):
        with pytest.raises(UserError, match="allowed are"):
            predict_timeline(predictor, tmp_path / "x.wav", window, step)


def test_the_command_writes_a_csv_and_a_picture_and_refuses_what_it_cannot_read(tmp_path, capsys):
    model = make_classifier(tmp_path / "model", "wav2vec2-layer", ("angry", "sad"))
    path = write_wav(tmp_path / "통화.wav", tone(7))
    timeline.main(["--model", str(model), str(path), "--output", str(tmp_path / "call.csv"), "--window", "2"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("6 windows over 7.0 s")
    windows = pd.read_csv(tmp_path / "call.csv")
    assert windows["end"].iloc[-1] == pytest.approx(7)
    assert (tmp_path / "call.png").stat().st_size > 5_000
    with pytest.raises(UserError, match="missing"):
        timeline.main(["--model", str(model), str(tmp_path / "no.wav"), "--output", str(tmp_path / "no.csv")])
