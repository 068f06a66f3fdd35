import json
from pathlib import Path

import pandas as pd
import pysubs2
import pytest
import soundfile

from ser.data.csv_input import read_transcripts
from ser.make_demo.synthesis import speak
from ser.make_demo.voices import make_speaker
from ser.runtime.errors import UserError
from ser.transcribe import __main__ as transcribe
from ser.transcripts import read_transcript
from ser.transcripts.segments import Segment, Transcript, Word
from ser.transcripts.whisper import Transcriber
from whisper import convert, write_checkpoint

SECOND = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    pytest.importorskip("faster_whisper")
    folder = tmp_path_factory.mktemp("whisper")
    return convert(write_checkpoint(folder / "transformers"), folder / "tiny")


def write_clip(path: Path, sentence: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speak(make_speaker("S01", 0), "neutral", sentence, 0, "clip"), SECOND)
    return path


def run(model: Path, cache: Path, *arguments: str) -> None:
    transcribe.main([*arguments, "--stt", str(model), "--data.cache", str(cache), "--speech.beam_size", "1", "--speech.words", "false"])


@pytest.mark.long
def test_clips_become_a_table_by_id_that_training_reads_and_nothing_is_heard_twice(model, tmp_path, monkeypatch, capsys):
    for number in range(3):
        write_clip(tmp_path / "input" / f"train/T{number}.wav", number)
    (tmp_path / "input" / "test").mkdir()
    (tmp_path / "input" / "test" / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "input" / "train.csv").write_text("id,path,label\n" + "".join(f"T{n},./train/T{n}.wav,{n}\n" for n in range(3)))
    (tmp_path / "input" / "test.csv").write_text("id,path\nX0,./test/broken.wav\n")
    other = write_clip(tmp_path / "more" / "one.wav", 3)
    arguments = (str(tmp_path / "input"), str(other), "--output")
    run(model, tmp_path / "cache", *arguments, str(tmp_path / "texts.csv"))
    table = pd.read_csv(tmp_path / "texts.csv", keep_default_na=False)
    assert table["id"].tolist() == ["T0", "T1", "T2", "X0", "one"] and table["status"].tolist()[3] == "undecodable"
    assert read_transcripts(tmp_path / "texts.csv").keys() == set(table["id"]) and read_transcripts(tmp_path / "texts.csv")["X0"] == ""
    told = capsys.readouterr()
    assert "5 clips" in told.out and "1 can't be used" in told.out and "speech to text: " in told.err and "peak memory" in told.err
    monkeypatch.setattr(Transcriber, "_load", lambda self: pytest.fail("the model was loaded although all is known"))
    run(model, tmp_path / "cache", *arguments, str(tmp_path / "again.csv"))
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "texts.csv").read_bytes()


def test_a_recording_becomes_subtitles_and_a_broken_one_is_told_after_the_others(model, tmp_path):
    clip = write_clip(tmp_path / "a.wav", 0)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"1 of 2 recordings can't be used: .*b\.wav"):
        run(model, tmp_path / "cache", str(clip), str(tmp_path / "b.wav"), "--output", str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.srt", "a.vtt", "a.json"}
    with pytest.raises(UserError, match="several recordings are called a "):
        run(model, tmp_path / "cache", str(clip), str(clip), "--output", str(tmp_path / "out"))


def test_every_format_says_the_same_and_is_read_back(tmp_path):
    words = (Word(1.0, 1.4, "안녕,"), Word(1.5, 2.25, "친구야"))
    heard = Transcript((Segment(1.0, 2.25, "안녕, 친구야", words), Segment(4.0, 5.5, "so <b> & c")), "ko")
    transcribe.write_transcript(tmp_path / "film", heard, "film.mp4")
    for kind in ("srt", "vtt"):
        events = pysubs2.load(str(tmp_path / f"film.{kind}"))
        assert [(event.start, event.end) for event in events] == [(1000, 2250), (4000, 5500)]
    assert read_transcript(tmp_path / "film.json").segments == heard.segments
    assert [part.text.replace("\u2060", "") for part in read_transcript(tmp_path / "film.vtt").segments] == ["안녕, 친구야", "so <b> & c"]
    assert json.loads((tmp_path / "film.json").read_text(encoding="utf-8"))["language"] == "ko"
