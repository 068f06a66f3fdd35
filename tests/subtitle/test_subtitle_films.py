import filecmp
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pysubs2
import pytest
import soundfile
import torch

import ser.inference.forward
from films import Line, make_film, write_srt
from ser.config import ClassicalConfig, DataConfig, ModelConfig, SubtitlesConfig
from ser.data.inputs import Store
from ser.data.labels import LABEL_SETS
from ser.data.speech_level import typical_level_db
from ser.data.store import ClipStore
from ser.inference.prediction import predict_files
from ser.make_demo.synthesis import speak
from ser.make_demo.voices import make_speaker
from ser.models.classical.classical import ClassicalModel
from ser.models.registry import build_model
from ser.runtime.errors import UserError, run_command
from ser.subtitle import __main__ as subtitle
from ser.subtitle import emotions
from ser.subtitle.emotions import windows_of
from ser.subtitle.film import Film, open_film
from ser.transcripts import Segment
from sounds import cut, tone, write_ffmpeg, write_wav
from tiny import TINY_WAV2VEC2
from whisper import convert, write_checkpoint

pytestmark = pytest.mark.long

SECOND = 16_000
SPOKEN = ("angry", "sad", "neutral", "happy")


def clip(number: int) -> np.ndarray:
    """A synthetic sentence, int16; its emotion is SPOKEN[number % 4]."""
    return speak(make_speaker(f"S{number % 7:02d}", 0), SPOKEN[number % 4], number % 5, 0, f"clip {number}")


def run(film: Path, output: Path, cache: Path, *more: str) -> None:
    subtitle.main([str(film), "--output", str(output), "--cache", str(cache), *more])


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> tuple[Path, list[Line], list[np.ndarray]]:
    """Twelve short lines, the sound a second and a half late."""
    folder = tmp_path_factory.mktemp("film")
    clips = [clip(number) for number in range(12)]
    texts = [f"{number}번째 문장이야, 들려?" if number % 2 else f"This is line {number}." for number in range(12)]
    lines = make_film(folder / "film.mp4", clips, texts, late=1.5)
    write_srt(folder / "film.srt", lines)
    return folder / "film.mp4", lines, clips


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A tiny Wav2Vec2 with random weights and 15 Korean speaking styles."""
    torch.manual_seed(0)
    config = ModelConfig(from_scratch=TINY_WAV2VEC2, freeze="none")
    folder = tmp_path_factory.mktemp("network") / "model"
    build_model(config, LABEL_SETS["korean15"], 3.0).save(folder)
    return folder


def test_a_films_sound_is_where_players_play_it(film, tmp_path):
    path, lines, clips = film
    sound = open_film(path, tmp_path)
    assert sound.problem == "" and sound.seconds == pytest.approx(lines[-1].end + 1, abs=0.2)
    for line in lines[::5]:
        wave, around = clips[line.clip].astype(float), round((line.start - 0.25) * SECOND)
        there = sound.read(around, around + len(wave) + SECOND // 2).astype(float)
        # Correlation by Fourier transform: where in these samples the clip lies.
        size = len(there) + len(wave)
        found = np.fft.irfft(np.fft.rfft(there, size) * np.conj(np.fft.rfft(wave, size)), size)[: SECOND // 2].argmax()
        assert (around + found) / SECOND == pytest.approx(line.start, abs=0.01)
    assert open_film(path, tmp_path).folder == sound.folder
    assert np.array_equal(sound.samples()[SECOND : 2 * SECOND], sound.read(SECOND, 2 * SECOND))


def test_a_recording_equals_what_decoding_makes_of_the_same_file(tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(3.0, rate=48_000), rate=48_000)
    store = ClipStore.open([path], DataConfig(cache=str(tmp_path)))
    sound = open_film(path, tmp_path)
    np.testing.assert_array_equal(np.rint(store[0] * 32768).astype(np.int16), sound.samples())


def test_what_is_no_film_is_refused_and_a_cut_one_is_used_as_far_as_it_goes(tmp_path):
    (tmp_path / "text.mp4").write_text("no film\n" * 100)
    mute = write_ffmpeg(tmp_path / "mute.mp4", tone(), 16_000, "mp4", None, video=True)
    short = write_wav(tmp_path / "short.wav", tone(0.05))
    for path, told in ((tmp_path / "text.mp4", "no audio format"), (mute, "no audio stream"), (short, "nothing to subtitle")):
        with pytest.raises(UserError, match=told):
            open_film(path, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").glob("*recording*") if path.is_dir()]
    with pytest.raises(UserError, match="can't be read"):
        open_film(tmp_path / "missing.mp4", tmp_path / "cache")
    half = cut(write_wav(tmp_path / "half.wav", tone(2.0)))
    sound = open_film(half, tmp_path / "cache")
    assert sound.seconds == pytest.approx(1.0, abs=0.01) and "promises" in sound.problem


def test_short_segments_hear_the_pauses_around_them_and_long_ones_are_heard_in_parts():
    def windows(*times, frames=100, shortest=1.0, longest=4.0):
        found = windows_of([Segment(start, end, "") for start, end in times], frames * SECOND, shortest, longest)
        return [(start / SECOND, end / SECOND, owner) for (start, end), owner in zip(found.parts, found.segment.tolist(), strict=True)]

    assert windows((10, 10.5)) == [(9.75, 10.75, 0)]
    assert windows((10, 10.5), (10.7, 13)) == [(9.6, 10.6, 0), (10.7, 13, 1)], "no further than the middle of the pause"
    assert windows((0.1, 0.3)) == [(0, 1, 0)]
    assert windows((10, 12), (11, 11.5)) == [(10, 12, 0), (11, 12.0, 1)]
    thirds = windows((10, 20))
    assert len(thirds) == 3 and np.allclose(thirds, [(10, 40 / 3, 0), (40 / 3, 50 / 3, 0), (50 / 3, 20, 0)], atol=1e-3)
    assert windows((99.8, 103), (200, 201)) == [(99, 100, 0)]
    assert windows((5, 5)) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A model fitted to 32 clips, none of which is in the film."""
    folder = tmp_path_factory.mktemp("trained")
    paths = []
    for number in range(100, 132):
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], clip(number), SECOND)
    store = Store.of_clips(ClipStore.open(paths, DataConfig(cache=str(folder / "cache"))))
    model = ClassicalModel(ClassicalConfig(), SPOKEN, 15.0)
    model.fit(store, np.arange(32), np.arange(100, 132) % 4, 0)
    model.speech_level_db = typical_level_db(store.clips, np.arange(32))
    model.save(folder / "model")
    return folder / "model"


def test_every_cue_stands_on_its_line_and_segments_are_told_as_well_as_clips(film, trained, tmp_path, capsys):
    path, lines, clips = film
    run(path, tmp_path / "out", tmp_path, "--model", str(trained), "--transcript", str(path.with_suffix(".srt")))
    written = [pysubs2.SSAFile.load(str(tmp_path / "out" / f"film.{kind}")) for kind in ("ass", "srt", "plain.srt", "vtt")]
    for subtitles in written:
        cues = [event for event in subtitles if event.style != "legend"]
        assert [event.plaintext.replace("\n", " ") for event in cues] == [line.text for line in lines]
        assert max(abs(event.start / 1000 - line.start) for event, line in zip(cues, lines, strict=True)) < 0.2
        assert max(abs(event.end / 1000 - line.end) for event, line in zip(cues, lines, strict=True)) < 0.2
    files = [tmp_path / f"{number}.wav" for number in range(len(clips))]
    for file, samples in zip(files, clips, strict=True):
        soundfile.write(file, samples, SECOND)
    truth = [SPOKEN[line.clip % 4] for line in lines]
    by_clip = np.mean(predict_files(trained, files, DataConfig(cache=str(tmp_path)))["label"] == truth)
    by_segment = np.mean(pd.read_csv(tmp_path / "out" / "film.csv")["emotion"] == truth)
    assert by_clip > 0.7, "the model has learnt"
    assert abs(by_segment - by_clip) <= 2 / len(truth)
    told = capsys.readouterr().out
    assert "12 segments" in told and "real-time factor" in told and "peak memory" in told
    report = (tmp_path / "out" / "film.report.md").read_text()
    assert "segments: 12" in report and "| angry |" in report
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"film.{kind}"
        for kind in ("ass", "srt", "plain.srt", "vtt", "json", "csv", "quality.csv", "report.md", "emotions.png", "timing.json")
    }


def test_a_film_is_heard_as_loud_as_the_training_clips(trained, tmp_path, capsys):
    """A film's level is its maker's choice; a model that has learnt how loud the angry speak is misled by it."""
    clips = [clip(number) for number in range(8)]
    ends = np.cumsum([len(samples) for samples in clips])
    segments = [Segment((end - len(samples)) / SECOND, end / SECOND, "") for end, samples in zip(ends, clips, strict=True)]
    told = {}
    for level in (1.0, 0.1):
        folder = tmp_path / str(level)
        folder.mkdir()
        np.round(level * np.concatenate(clips)).astype(np.int16).tofile(folder / "audio.i16")
        film = Film(folder, int(ends[-1]), str(level), "")
        for match in (True, False):
            found = emotions.emotion_probabilities(trained, film, segments, SubtitlesConfig(match_level=match), tmp_path / "cache")
            told[level, match] = found.argmax(axis=1)
            heard = capsys.readouterr().out
            assert ("the film's speech lies at" in heard) == match
    assert np.mean(told[0.1, True] == told[1.0, True]) >= 7 / 8
    assert np.mean(told[0.1, False] == told[1.0, False]) < 5 / 8


def test_how_loud_a_run_of_several_folds_hears_a_film_is_one_line(capsys):
    emotions._tell_level(-30.0, [-24.0, -24.46, None])
    emotions._tell_level(-24.02, [-24.0, -24.0])
    emotions._tell_level(None, [-24.0])
    assert capsys.readouterr().out.splitlines() == [
        "the film's speech lies at -30.0 dB, that of the training clips at -24.5 to -24.0 dB: heard with +5.5 to +6.0 dB"
    ]


def test_a_films_length_is_told_in_what_shows_it_and_says_where_the_file_is_damaged(tmp_path):
    assert Film(tmp_path, 90 * SECOND, "", "").length == "1.5 min of sound"
    assert Film(tmp_path, 2 * SECOND, "", "truncated").length == "2.0 s of sound (all that can be decoded of the damaged file)"


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir() if not path.name.endswith("timing.json"))
    assert names == sorted(path.name for path in other.iterdir() if not path.name.endswith("timing.json"))
    return filecmp.cmpfiles(one, other, names, shallow=False) == (names, [], [])


def test_interrupted_and_started_again_it_ends_with_the_same_files(film, network, tmp_path, monkeypatch):
    path, _, _ = film
    monkeypatch.setattr(emotions, "CHUNK", 4)
    arguments = ("--model", str(network), "--transcript", str(path.with_suffix(".srt")))
    run(path, tmp_path / "whole", tmp_path / "cache a", *arguments)

    calls, predict = [], ser.inference.forward.predict_probabilities

    def killed(*values, **names):
        calls.append(len(values[2]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(*values, **names)

    monkeypatch.setattr(ser.inference.forward, "predict_probabilities", killed)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "again", tmp_path / "cache b", *arguments)
    (progress,) = (tmp_path / "cache b" / "emotions").iterdir()
    with progress.open("ab") as file:
        file.write(b"\1" * 100)  # a write that the kill cut off
    run(path, tmp_path / "again", tmp_path / "cache b", *arguments)
    assert same_files(tmp_path / "whole", tmp_path / "again")
    done = len(calls)
    run(path, tmp_path / "third", tmp_path / "cache b", *arguments)
    assert len(calls) == done and same_files(tmp_path / "whole", tmp_path / "third"), "all was known"


def test_two_processes_on_one_film_write_one_after_the_other(tmp_path):
    entered = threading.Event()

    def second():
        with emotions._progress(tmp_path / "x.f64", 2, 3, "second") as progress:
            entered.set()
            assert progress.whole_chunks(2) == 1 and progress.read().tolist() == [[0.0] * 3] * 2

    with emotions._progress(tmp_path / "x.f64", 2, 3, "first") as progress:
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
        progress.append(np.zeros((2, 3)))
    thread.join(10)
    assert entered.is_set()


def test_labels_beyond_the_seven_count_for_the_nearest(film, network, tmp_path):
    path, lines, _ = film
    sound = open_film(path, tmp_path)
    parts = [Segment(line.start, line.end, "") for line in lines] + [Segment(sound.seconds + 1, sound.seconds + 2, "beyond")]
    seven = emotions.emotion_probabilities(network, sound, parts, SubtitlesConfig(), tmp_path)
    assert np.isnan(seven[-1]).all()
    np.testing.assert_allclose(seven[:-1].sum(axis=1), 1)
    assert (seven[:-1, LABEL_SETS["subtitle7"].index("disgust")] == 0).all()
    matrix = emotions._into_seven(Path("m"), "encoder", "audio", ("other", "calm", "frustrated"))
    assert matrix.tolist() == [[0] * 7, [1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]]
    with pytest.raises(UserError, match="trained on emotions"):
        emotions._into_seven(Path("m"), "encoder", "audio", ("neutral", "calm", "unknown"))
    with pytest.raises(UserError, match="takes text"):
        emotions._into_seven(Path("m"), "text_ngrams", "text", ("sad", "happy"))


def test_styled_again_from_the_json_without_a_model(film, network, tmp_path, capsys):
    path, _, _ = film
    run(path, tmp_path / "out", tmp_path, "--model", str(network), "--transcript", str(path.with_suffix(".srt")))
    shutil.rmtree(tmp_path / "emotions")
    run(tmp_path / "out" / "film.json", tmp_path / "again", tmp_path)
    named = {f"film{ending}" for ending in capsys.readouterr().out.splitlines()[-1].split("film", 1)[1].split(", ")}
    assert named == {path.name for path in (tmp_path / "again").iterdir()}
    for kind in ("ass", "srt", "plain.srt", "vtt", "csv"):
        assert (tmp_path / "again" / f"film.{kind}").read_bytes() == (tmp_path / "out" / f"film.{kind}").read_bytes()
    run(tmp_path / "out" / "film.json", tmp_path / "again", tmp_path, "--subtitles.min_confidence", "0", "--subtitles.legend", "false")
    assert "legend,," not in (tmp_path / "again" / "film.ass").read_text()
    assert "neutral" not in set(pd.read_csv(tmp_path / "again" / "film.csv")["style"]) - set(
        pd.read_csv(tmp_path / "out" / "film.csv")["emotion"]
    )
    no_effect = ("--subtitles.context", "2", "--speech.beam_size", "1", "--audio_track", "0", "--subtitles.legend", "false")
    with pytest.raises(UserError, match=r"--audio_track, --speech\.beam_size, --subtitles\.context: .* is styled again from what it holds"):
        run(tmp_path / "out" / "film.json", tmp_path / "again", tmp_path, *no_effect)


def test_without_a_transcript_speech_is_found_and_named_or_written_down(film, network, tmp_path):
    pytest.importorskip("faster_whisper")
    path, lines, _ = film
    run(path, tmp_path / "found", tmp_path, "--model", str(network), "--subtitles.min_confidence", "0", "--subtitles.names", "ko")
    found = pd.read_csv(tmp_path / "found" / "film.csv")
    spoken = np.zeros(round(lines[-1].end * 100) + 200, bool)
    for row in found.itertuples():
        spoken[round(row.start * 100) : round(row.end * 100)] = True
    covered = [spoken[round(line.start * 100) : round(line.end * 100)].mean() for line in lines]
    assert np.mean(covered) > 0.75 and spoken.mean() < 0.95
    assert "[" in (tmp_path / "found" / "film.plain.srt").read_text(encoding="utf-8")

    model = convert(write_checkpoint(tmp_path / "transformers"), tmp_path / "whisper")
    more = ("--stt", str(model), "--speech.language", "ko", "--speech.beam_size", "1", "--subtitles.karaoke", "true")
    run(path, tmp_path / "heard", tmp_path, "--model", str(network), *more)
    rows = json.loads((tmp_path / "heard" / "film.json").read_text(encoding="utf-8"))["segments"]
    assert rows and all(row["text"] for row in rows)
    assert "language: ko" in (tmp_path / "heard" / "film.report.md").read_text()


@pytest.mark.slow
def test_subtitles_go_into_the_film_where_ffmpeg_is_installed(film, network, tmp_path, monkeypatch, capsys):
    path, lines, _ = film
    arguments = ("--model", str(network), "--transcript", str(path.with_suffix(".srt")))
    if shutil.which("ffmpeg") is not None:
        import av

        odd = shutil.copy(path, tmp_path / "it's: [odd], 한국.mp4")
        run(odd, tmp_path / "out", tmp_path, *arguments, "--mux", "--burn")
        assert capsys.readouterr().out.rstrip().endswith(".timing.json, .subtitled.mkv, .burned.mkv"), "the last line names the films"
        with av.open(str(tmp_path / "out" / "it's: [odd], 한국.subtitled.mkv")) as muxed:
            assert sorted(stream.type for stream in muxed.streams) == ["audio", "subtitle", "video"]
            packets = [packet for packet in muxed.demux(muxed.streams.subtitles[0]) if packet.size]
            assert len(packets) == len(lines) + 1
        with av.open(str(tmp_path / "out" / "it's: [odd], 한국.burned.mkv")) as burned:
            frames = [frame.to_ndarray(format="gray") for frame in burned.decode(video=0)]
        line, rate = lines[9], 5
        middle, pause = frames[round((line.start + line.end) / 2 * rate)], frames[round((line.start - 0.15) * rate)]
        assert middle[120:].max() > 180 > pause[120:].max(), "bright letters while somebody speaks, none before"
        sound = write_wav(tmp_path / "sound.wav", tone(2.0))
        (tmp_path / "sound.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nhello\n")
        with pytest.raises(UserError, match="no picture"):
            run(sound, tmp_path / "out", tmp_path, "--model", str(network), "--transcript", str(tmp_path / "sound.srt"), "--burn")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="apt install ffmpeg"):
        run(path, tmp_path / "none", tmp_path, *arguments, "--mux")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--transcript", "film.srt"], "--model is missing"),
        (["--model", "m", "--transcript", "film.srt", "--stt", "tiny"], "both given"),
        (["--model", "nowhere", "--transcript", "film.srt"], "no such model"),
        (["--model", "{network}", "--transcript", "late.srt"], "Is it of another film"),
        (["--model", "nowhere", "--subtitles.min_confidense", "1"], "min_confidence"),
        (["film.json", "--model", "m", "--burn"], "--model, --burn: film.json is styled again"),
        (["film.json", "--audio_track", "0"], "--audio_track: film.json is styled again"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(film, network, tmp_path, more, told, monkeypatch, capsys):
    path, _, _ = film
    monkeypatch.chdir(path.parent)
    (path.parent / "late.srt").write_text("1\n01:00:00,000 --> 01:00:01,000\nhello\n")
    with pytest.raises(SystemExit, match="2"):
        run_command(
            subtitle.main,
            ["film.mp4"] * ("film.json" not in more)
            + ["--output", str(tmp_path), "--cache", str(tmp_path), *(word.format(network=network) for word in more)],
        )
    assert told in capsys.readouterr().err


def test_a_speech_model_that_is_nowhere_is_told_before_the_film_is_decoded(film, network, tmp_path):
    pytest.importorskip("faster_whisper")
    with pytest.raises(UserError, match="given 'large-v4'; there is no such folder"):
        run(film[0], tmp_path, tmp_path / "cache", "--model", str(network), "--stt", "large-v4")
    assert not (tmp_path / "cache").exists()


def test_the_transcript_given_is_never_overwritten(film, network, tmp_path):
    path, _, _ = film
    with pytest.raises(UserError, match=r"film\.srt would be overwritten"):
        run(path, path.parent, tmp_path, "--model", str(network), "--transcript", str(path.with_suffix(".srt")))
