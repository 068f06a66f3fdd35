import json
import re
import shutil
import socket

import numpy as np
import pytest

from ser.config import SpeechConfig
from ser.data.csv_input import read_transcripts
from ser.make_demo.synthesis import speak
from ser.make_demo.voices import make_speaker
from ser.runtime.errors import UserError
from ser.transcripts import Dropped, Segment, Word, read_transcript
from ser.transcripts.inventions import drop_invented
from ser.transcripts.whisper import Transcriber
from whisper import convert, write_checkpoint

SECOND = 16_000


def voice(sentence: int = 0) -> np.ndarray:
    """A spoken sentence of the demo data, int16 at 16 kHz."""
    wave = np.asarray(speak(make_speaker("S01", 0), "neutral", sentence, 0, "clip"))
    return wave if wave.dtype == np.int16 else np.rint(wave * 32767).astype(np.int16)


def quiet(seconds: float) -> np.ndarray:
    """Room noise at about -66 dBFS."""
    return np.random.default_rng(0).normal(0, 16, round(seconds * SECOND)).astype(np.int16)


SRT = """1
00:00:01,500 --> 00:00:03,250
안녕하세요, <i>여러분</i>.

2
00:00:00,200 --> 00:00:01,000
- first
- second

3
00:00:04,000 --> 00:00:05,000

"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_srt_is_read_in_the_order_of_its_starts_without_tags_and_empty_cues(tmp_path, encoding):
    path = tmp_path / "film.srt"
    path.write_bytes(SRT.encode(encoding))
    assert list(read_transcript(path).segments) == [Segment(0.2, 1.0, "- first - second"), Segment(1.5, 3.25, "안녕하세요, 여러분.")]


def test_vtt_gives_speakers_and_literal_signs_and_overlooks_styles_and_notes(tmp_path):
    path = tmp_path / "film.vtt"
    path.write_text(
        "WEBVTT\n\nSTYLE\n::cue(.a) { color: red }\n\nNOTE 00:00:00.000 --> 00:00:01.000 is a note\n\n"
        "00:01.000 --> 00:02.500 align:start\n<v 김민수><c.angry>x &lt; y &amp; z</c>\n\n1:00:00.000 --> 1:00:01.000\nlate\n",
        encoding="utf-8",
    )
    assert list(read_transcript(path).segments) == [Segment(1.0, 2.5, "x < y & z", speaker="김민수"), Segment(3600.0, 3601.0, "late")]


def test_ass_gives_the_shown_text_and_its_speaker(tmp_path):
    path = tmp_path / "film.ass"
    path.write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,a note\n"
        "Dialogue: 0,0:00:01.25,0:00:02.50,Default,민수,0,0,0,,{\\b1}좋아\\N그래, 가자\n",
        encoding="utf-8",
    )
    assert list(read_transcript(path).segments) == [Segment(1.25, 2.5, "좋아 그래, 가자", speaker="민수")]


def test_whisperx_json_gives_words_with_times_and_speakers(tmp_path):
    words = [{"word": "in", "start": 0.5, "end": 0.6, "score": 0.9}, {"word": "1969"}, {"word": "we", "start": 0.9, "end": None}]
    content = {"segments": [{"start": 0.5, "end": 1.5, "text": " in 1969 we", "words": words, "speaker": "SPEAKER_01"}], "language": "en"}
    path = tmp_path / "film.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert list(read_transcript(path).segments) == [Segment(0.5, 1.5, "in 1969 we", (Word(0.5, 0.6, "in"),), "SPEAKER_01")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "hello", "one of .srt"),
        ("a.srt", "no times here", "no text with a start"),
        ("a.srt", "1\n00:00:05,000 --> 00:00:01,000\nbackwards\n", "no end before its start"),
        ("a.json", "{", "WhisperX"),
        ("a.json", '{"segments": [{"start": NaN, "end": 1, "text": "x"}]}', "WhisperX"),
        ("a.json", '{"segments": [{"start": -1, "end": 1, "text": "x"}]}', "not be negative"),
        ("a.json", '{"text": "no segments"}', "WhisperX"),
    ],
)
def test_what_is_no_transcript_is_refused_with_the_reason(tmp_path, name, content, told):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_transcript(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        read_transcript(tmp_path / "missing.srt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_transcripts_of_clips_are_read_by_id(tmp_path, encoding):
    path = tmp_path / "texts.csv"
    path.write_bytes('id,text\n007,"안녕, 하세요"\nb,\n'.encode(encoding))
    assert read_transcripts(path) == {"007": "안녕, 하세요", "b": ""}
    path.write_text("id,text\na,x\na,y\n")
    with pytest.raises(UserError, match="more than once"):
        read_transcripts(path)


def test_what_whisper_puts_where_nobody_speaks_is_dropped_with_the_reason():
    samples = np.concatenate([voice()[:SECOND], np.zeros(SECOND, np.int16), quiet(1)])
    said, invented, faint = Segment(0.2, 0.9, "hello"), Segment(1.1, 1.9, "시청해주셔서 감사합니다"), Segment(2.1, 2.9, "thanks")
    kept, dropped = drop_invented([said, invented, faint, Segment(0.0, 0.5, "")], samples, [(0, SECOND), (SECOND + 10, 2 * SECOND)])
    assert kept == [0]
    assert [(part.text, part.reason) for part in dropped] == [
        ("시청해주셔서 감사합니다", "silence"),
        ("thanks", "no speech there"),
        ("", "no text"),
    ]
    assert isinstance(dropped[0], Dropped)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("faster_whisper")
    folder = tmp_path_factory.mktemp("whisper")
    convert(write_checkpoint(folder / "transformers"), folder / "tiny")
    return folder / "tiny"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_speech_is_found_where_it_is_the_same_in_one_block_as_in_many(model, monkeypatch):
    from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model

    from ser.transcripts import voice_activity

    samples = np.concatenate([quiet(2), voice(), quiet(3), voice(1), quiet(1)])
    wave = samples.astype(np.float32) / 32768
    spans = voice_activity.speech_spans(samples)
    reference = get_speech_timestamps(wave, VadOptions(min_silence_duration_ms=400, min_speech_duration_ms=250, speech_pad_ms=100))
    assert np.abs(np.array(spans) - [(span["start"], span["end"]) for span in reference]).max() <= 2 * voice_activity.WINDOW
    padded = np.pad(wave, (0, -len(wave) % 512))
    np.testing.assert_allclose(voice_activity.speech_probabilities(samples), get_vad_model()(padded).ravel(), atol=1e-6)
    monkeypatch.setattr(voice_activity, "BLOCK_WINDOWS", 7)
    assert voice_activity.speech_spans(samples) == spans
    assert voice_activity.speech_spans(np.zeros(5 * SECOND, np.int16)) == []
    assert all(end - start <= 0.6 * SECOND + 2 * 1600 for start, end in voice_activity.speech_spans(samples, 0.6))


def test_speech_begins_where_the_detector_first_hears_it_and_no_pause_is_lost():
    from ser.transcripts.voice_activity import _spoken

    unsure, sure, none = [0.3] * 10, [0.9] * 12, [0.05] * 20
    assert _spoken(np.array([*none, *unsure, *sure, *none]), 0.2) == [(20, 42)]
    assert _spoken(np.array([*none, *unsure, *none]), 0.2) == [], "what is never sure is no speech"
    assert _spoken(np.array([*none, *unsure, *sure[:4], *none]), 0.2) == [], "nor is a click with something before it"
    hissing = np.array([*none, *sure, *unsure * 2, *sure, *none])
    assert _spoken(hissing, 0.2) == [(20, 32), (39, 64)], "a pause of 0.2 s stays one"
    assert _spoken(hissing, 2.0) == [(20, 64)]


def test_whisper_hears_the_speech_alone_and_the_same_every_time(model, tmp_path, no_network):
    config = SpeechConfig(words=False, language="ko", beam_size=2)
    samples = np.concatenate([quiet(3), voice(), quiet(8), voice(1), quiet(3)])
    heard = []
    for name in "ab":
        config.cache = str(tmp_path / name)
        heard.append(Transcriber(str(model), config).transcribe(samples))
    assert heard[0] == heard[1] and heard[0].language == "ko"
    assert heard[0].segments and all(0 <= part.start <= part.end <= len(samples) / SECOND for part in heard[0].segments)
    nothing = Transcriber(str(model), config).transcribe(np.zeros(60 * SECOND, np.int16))
    assert nothing.segments == () and nothing.dropped == ()


def test_a_transcript_is_cached_by_audio_model_and_options(model, tmp_path, monkeypatch):
    config = SpeechConfig(cache=str(tmp_path / "cache"), beam_size=1)
    clips = [voice(0), voice(1)]

    def transcribe(clips, model, config):
        with_model = Transcriber(str(model), config)
        return [with_model.transcribe(clip) for clip in clips]

    first = transcribe(clips, model, config)
    files = sorted((tmp_path / "cache" / "transcripts").rglob("*.json"))
    assert len(files) == 2

    monkeypatch.setattr(Transcriber, "_load", lambda self: pytest.fail("the model was loaded although all is known"))
    assert transcribe(clips[::-1], model, config) == first[::-1]
    files[0].write_text('{"segments": [{"start": 0}]}')
    with pytest.raises(pytest.fail.Exception, match="model was loaded"):
        transcribe(clips, model, config)
    with pytest.raises(pytest.fail.Exception, match="model was loaded"):
        transcribe(clips, model, SpeechConfig(cache=config.cache, beam_size=2))
    other = shutil.copytree(model, tmp_path / "other")
    card = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(card | {"note": "another model"}))
    with pytest.raises(pytest.fail.Exception, match="model was loaded"):
        transcribe(clips, other, config)


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokenizer.json", "preprocessor_config.json", "vocabulary.json"])
def test_a_model_folder_that_lacks_a_file_is_refused_without_asking_the_network(model, tmp_path, no_network, name):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{re.escape(name)}.*missing"):
        Transcriber(str(folder), SpeechConfig(cache=str(tmp_path)))


def test_an_unconverted_checkpoint_and_an_unknown_name_say_what_to_do(model, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="ct2-transformers-converter"):
        Transcriber(str(model.parent / "transformers"), SpeechConfig(cache=str(tmp_path)))
    with pytest.raises(UserError, match="large-v3"):
        Transcriber("./no/such/folder", SpeechConfig(cache=str(tmp_path)))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="hf download Systran/faster-whisper-tiny"):
        Transcriber("tiny", SpeechConfig(cache=str(tmp_path)))


def test_without_faster_whisper_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr("ser.transcripts.voice_activity.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"requirements-speech\.txt"):
        Transcriber("tiny", SpeechConfig(cache=str(tmp_path)))
