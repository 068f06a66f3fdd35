"""The demo data: the same bytes every time, in the competition's form, never over other data."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.make_demo.folder import NEW_SPEAKERS, TRAIN_SPEAKERS, is_demo, make_demo
from ser.make_demo.score import MAX_SECONDS, MIN_SECONDS, SAMPLE_RATE, SENTENCES
from ser.make_demo.synthesis import PEAK, speak
from ser.make_demo.voices import EMOTIONS, make_speaker
from ser.runtime.errors import UserError


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A small demo: each of the 30 voices twice in train."""
    folder = tmp_path_factory.mktemp("demo") / "input"
    assert make_demo(folder, clips=60, test_clips=30, seed=0)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def audio(folder: Path, table: str) -> list[np.ndarray]:
    return [soundfile.read(folder / path, dtype="int16")[0] for path in pd.read_csv(folder / table).path]


def test_same_seed_gives_the_same_bytes_in_another_process(demo, tmp_path):
    command = [sys.executable, "-m", "ser.make_demo", "--output", "again", "--clips", "60", "--test_clips", "30"]
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(source)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hashes(tmp_path / "again") == hashes(demo)


def test_another_seed_gives_other_voices(demo, tmp_path):
    make_demo(tmp_path / "other", clips=6, test_clips=1, seed=1)
    first, other = audio(demo, "train.csv")[0], audio(tmp_path / "other", "train.csv")[0]
    assert len(first) != len(other) or (first != other).any()
    assert make_speaker("S00", 0) != make_speaker("S00", 1)


def test_a_clip_does_not_depend_on_how_many_there_are():
    voice = make_speaker("S03", 0)
    alone = speak(voice, "fear", 2, 0, "TRAIN_0007")
    speak(voice, "happy", 5, 0, "TRAIN_0008")
    np.testing.assert_array_equal(speak(voice, "fear", 2, 0, "TRAIN_0007"), alone)


def test_form_is_the_competitions(demo):
    train, test = pd.read_csv(demo / "train.csv"), pd.read_csv(demo / "test.csv")
    sample, labels = pd.read_csv(demo / "sample_submission.csv"), pd.read_csv(demo / "test_labels.csv")
    assert list(train) == ["id", "path", "label"]
    assert list(test) == ["id", "path"]
    assert list(sample) == ["id", "label"]
    assert train.id.tolist() == [f"TRAIN_{number:04d}" for number in range(60)]
    assert test.id.tolist() == [f"TEST_{number:04d}" for number in range(30)]
    assert train.path.tolist() == [f"./train/{name}.wav" for name in train.id]
    assert test.path.tolist() == [f"./test/{name}.wav" for name in test.id]
    assert sample.id.tolist() == labels.id.tolist() == test.id.tolist()
    assert set(sample.label) == {0}
    assert len(list(demo.glob("*/*.wav"))) == 90
    for file in demo.glob("*/*.wav"):
        info = soundfile.info(file)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "WAV", "PCM_16")


def test_every_emotion_and_every_voice_is_there_and_half_of_test_is_spoken_by_new_voices(demo):
    train, speakers = pd.read_csv(demo / "train.csv"), pd.read_csv(demo / "train_speakers.csv")
    assert speakers.id.tolist() == train.id.tolist()
    assert train.label.value_counts().to_dict() == dict.fromkeys(range(6), 10)
    assert set(speakers.speaker.value_counts()) == {2}
    assert set(speakers.speaker) == set(TRAIN_SPEAKERS)
    test = pd.read_csv(demo / "test_labels.csv")
    assert set(test.label) == set(range(6))
    new = test.speaker.isin(NEW_SPEAKERS)
    assert new.sum() == 15
    assert set(test.label[new]) == set(test.label[~new]) == set(range(6))
    assert not set(NEW_SPEAKERS) & set(TRAIN_SPEAKERS)


def test_row_order_says_nothing_about_the_label(demo):
    labels = pd.read_csv(demo / "train.csv").label.to_numpy()
    assert (labels[1:] == labels[:-1]).mean() < 0.4
    assert abs(np.corrcoef(np.arange(len(labels)), labels)[0, 1]) < 0.4


def test_lengths_and_levels_are_those_of_recorded_speech_and_nothing_clips(demo):
    for samples in audio(demo, "train.csv") + audio(demo, "test.csv"):
        wave = samples / 32768
        assert MIN_SECONDS <= len(samples) / SAMPLE_RATE <= MAX_SECONDS
        assert np.abs(wave).max() <= PEAK
        assert -48 < 20 * np.log10(wave.std()) < -12
        assert abs(wave.mean()) < 0.01
        assert 20 * np.log10(wave[:800].std()) < 20 * np.log10(wave.std()) - 10, "speech begins after a moment of silence"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 19), st.sampled_from(list(EMOTIONS)), st.integers(0, len(SENTENCES) - 1))
def test_any_voice_with_any_emotion_stays_within_length_and_full_scale(seed, number, emotion, sentence):
    samples = speak(make_speaker(f"S{number:02d}", seed), emotion, sentence, seed, "x")
    assert samples.dtype == np.int16
    assert MIN_SECONDS <= len(samples) / SAMPLE_RATE <= MAX_SECONDS
    assert 200 < np.abs(samples.astype(int)).max() <= PEAK * 32768


def test_pitch_of_a_voice_is_what_the_speaker_has():
    librosa = pytest.importorskip("librosa")
    for name in ("S02", "S05"):
        voice = make_speaker(name, 0)
        wave = np.concatenate([speak(voice, "neutral", k, 0, f"c{k}") for k in range(4)]) / 32768
        pitch = librosa.yin(wave.astype(np.float32), fmin=60, fmax=500, sr=SAMPLE_RATE, frame_length=1024)
        level = librosa.feature.rms(y=wave, frame_length=1024, hop_length=256)[0]
        median = np.median(pitch[level > level.max() / 4])
        assert abs(12 * np.log2(median / voice.pitch)) < 2.5


def test_emotions_differ_as_published_acoustics_say():
    """Level, length and pitch against neutral, over several voices (Juslin & Laukka 2003, table 7)."""
    librosa = pytest.importorskip("librosa")
    level, length, pitch = {}, {}, {}
    for emotion in ("angry", "sad", "neutral", "fear"):
        clips = [speak(make_speaker(f"S{k:02d}", 0), emotion, k, 0, f"{emotion}{k}") / 32768 for k in range(8)]
        level[emotion] = np.mean([20 * np.log10(np.sort(np.abs(wave))[-len(wave) // 10]) for wave in clips])
        length[emotion] = np.mean([len(wave) for wave in clips])
        voiced = [librosa.yin(wave[4000:-5000].astype(np.float32), fmin=60, fmax=500, sr=SAMPLE_RATE, frame_length=1024) for wave in clips]
        pitch[emotion] = np.mean([np.log2(np.median(curve)) for curve in voiced])
    assert level["angry"] > level["neutral"] + 3 > level["sad"] + 5
    assert length["sad"] > 1.1 * length["neutral"] > 1.1 * length["fear"]
    assert pitch["fear"] > pitch["angry"] > pitch["neutral"] > pitch["sad"]


def test_voices_differ():
    voices = [make_speaker(name, 0) for name in TRAIN_SPEAKERS + NEW_SPEAKERS]
    assert len({voice.pitch for voice in voices}) == len(voices)
    assert max(voice.pitch for voice in voices) > 1.5 * min(voice.pitch for voice in voices)
    clips = [speak(voice, "neutral", 0, 0, "x") for voice in voices]
    assert len({samples.tobytes() for samples in clips}) == len(clips)


def test_made_again_it_is_left_as_it_is(demo):
    before = {file: file.stat().st_mtime_ns for file in demo.rglob("*")}
    assert make_demo(demo, clips=60, test_clips=30, seed=0) is False
    assert {file: file.stat().st_mtime_ns for file in demo.rglob("*")} == before


def test_demo_data_with_other_settings_is_refused_and_left(demo):
    before = hashes(demo)
    with pytest.raises(UserError, match=r"other settings .*seed 0.*asked for .*seed 5"):
        make_demo(demo, clips=60, test_clips=30, seed=5)
    assert hashes(demo) == before


@pytest.mark.parametrize("name", ["train.csv", "train/TRAIN_0000.wav", "notes.txt"])
def test_a_folder_with_other_data_is_never_touched(tmp_path, name):
    file = tmp_path / "input" / name
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(UserError, match=rf"other data.*{name.split('/')[0]}.*--output"):
        make_demo(tmp_path / "input", clips=6, test_clips=1)
    assert hashes(tmp_path / "input") == {name: hashlib.sha256(b"precious").hexdigest()}
    assert not is_demo(tmp_path / "input")


def test_real_tables_put_over_the_demo_are_not_taken_for_it(demo, tmp_path):
    mixed = tmp_path / "input"
    shutil.copytree(demo, mixed)
    assert is_demo(mixed)
    (mixed / "train.csv").write_text("id,path,label\nTRAIN_0000,./train/TRAIN_0000.wav,0\n")
    assert not is_demo(mixed)
    with pytest.raises(UserError, match="other data"):
        make_demo(mixed, clips=60, test_clips=30)


def test_the_readme_of_the_input_folder_stays(tmp_path):
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "README.md").write_text("put the data here")
    assert make_demo(folder, clips=6, test_clips=2)
    assert (folder / "README.md").read_text() == "put the data here"
    assert (folder / "train.csv").is_file()
    assert "synthetic" in json.loads((folder / "demo.json").read_text())["about"].lower()


def test_nothing_is_left_when_making_it_fails(tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ser.make_demo.folder.write_json", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_demo(tmp_path / "input", clips=6, test_clips=1)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "input").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        make_demo(tmp_path / "input")
