"""Tables: the three forms a data set comes in, and everything that can be wrong with them."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broken import examples
from ser.config import DataConfig
from ser.data.labels import LABEL_SETS, is_emotion
from ser.data.tables import Dataset, read_dataset, read_paths
from ser.runtime.errors import UserError
from sounds import tone, write_wav

EXAMPLES = examples(200)

TRAIN = "id,path,label\nTRAIN_0000,./train/TRAIN_0000.wav,2\nTRAIN_0001,./train/TRAIN_0001.wav,0\n"
TEST = "id,path\nTEST_0000,./test/TEST_0000.wav\nTEST_0001,./test/TEST_0001.wav\n"
SAMPLE = "id,label\nTEST_0000,0\nTEST_0001,0\n"


def competition(folder: Path, train=TRAIN, test=TEST, sample=SAMPLE, speakers=None) -> Path:
    files = {"train.csv": train, "test.csv": test, "sample_submission.csv": sample, "train_speakers.csv": speakers}
    for name, text in files.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "clips.csv"
    path.write_bytes(text.encode(encoding))
    return path


def read(root: Path, need_labels: bool = True, **keys) -> Dataset:
    return read_dataset(DataConfig(root=str(root), **keys), need_labels)


def wrong(root: Path, message: str, need_labels: bool = True, **keys) -> str:
    with pytest.raises(UserError, match=message) as error:
        read(root, need_labels, **keys)
    assert len(str(error.value)) < 1000
    return str(error.value)


# --- a competition folder ---


def test_competition_folder_is_read_as_shipped(tmp_path):
    data = read(competition(tmp_path))
    assert (data.kind, data.label_names) == ("competition", LABEL_SETS["competition6"])
    assert data.train.ids == ("TRAIN_0000", "TRAIN_0001")
    assert data.train.paths == (tmp_path / "train/TRAIN_0000.wav", tmp_path / "train/TRAIN_0001.wav")
    assert data.train.labels.dtype == np.int64
    assert data.train.labels.tolist() == [2, 0]
    assert data.train.speakers is None
    assert data.test.ids == ("TEST_0000", "TEST_0001")
    assert data.test.labels is None
    assert data.sample.ids == ("TEST_0000", "TEST_0001")


def test_sample_submission_keeps_its_own_order(tmp_path):
    data = read(competition(tmp_path, sample="id,label\nTEST_0001,0\nTEST_0000,0\n"))
    assert data.sample.ids == ("TEST_0001", "TEST_0000")
    assert data.test.ids == ("TEST_0000", "TEST_0001")


def test_ids_stay_exactly_as_written(tmp_path):
    ids = ["0012", "12", "1.0", "1e3", "nan", " a", "NA", "True", "한국"]
    rows = "".join(f"{name},a{number}.wav,0\n" for number, name in enumerate(ids))
    assert list(read(csv(tmp_path, f"id,path,label\n{rows}")).train.ids) == ids


def test_speakers_are_found_beside_the_data_and_put_in_table_order(tmp_path):
    root = competition(tmp_path, speakers="id,speaker\nTRAIN_0001,B\nTRAIN_0000,A\nelse,C\n")
    assert read(root).train.speakers == ("A", "B")


def test_speakers_of_other_clips_beside_a_csv_are_not_asked_for(tmp_path):
    competition(tmp_path, speakers="id,speaker\nTRAIN_0001,B\nTRAIN_0000,A\n")
    labelled = tmp_path / "test_labels.csv"
    labelled.write_text("id,path,label,speaker\nTEST_0000,./test/x.wav,2,S30\nTEST_0001,./test/y.wav,0,S31\n")
    assert read(labelled).train.speakers == ("S30", "S31")
    labelled.write_text("id,path,label\nTEST_0000,./test/x.wav,2\nTEST_0001,./test/y.wav,0\n")
    assert read(labelled).train.speakers is None
    labelled.write_text("id,path,label\nTEST_0000,./test/x.wav,2\nTRAIN_0001,./test/y.wav,0\n")
    wrong(labelled, "no speaker for 1 training clip: TEST_0000")


def test_speakers_file_named_by_the_user_wins(tmp_path):
    root = competition(tmp_path, speakers="id,speaker\nTRAIN_0001,B\nTRAIN_0000,A\n")
    other = tmp_path / "mine.csv"
    other.write_text("id,speaker\nTRAIN_0000,X\nTRAIN_0001,Y\n")
    assert read(root, speakers=str(other)).train.speakers == ("X", "Y")


def test_gender_beside_the_speaker_is_read_in_any_of_its_names_and_may_be_unknown(tmp_path):
    train = read(competition(tmp_path, speakers="id,speaker,gender\nTRAIN_0001,B,\nTRAIN_0000,A,여\n")).train
    assert (train.speakers, train.genders) == (("A", "B"), ("female", None))
    assert (train.take([1]).speakers, train.take([1]).genders) == (("B",), (None,))
    assert read(competition(tmp_path, speakers="id,speaker\nTRAIN_0001,B\nTRAIN_0000,A\n")).train.genders is None
    wrong(competition(tmp_path, speakers="id,speaker,gender\nTRAIN_0001,B,x\nTRAIN_0000,A,F\n"), "gender x; allowed are female")


def test_speaker_column_of_the_table_serves_too(tmp_path):
    assert read(csv(tmp_path, "id,path,label,speaker,text\na,a.wav,sad,kim,x\nb,b.wav,joy,lee,y\n")).train.speakers == ("kim", "lee")


def test_take_keeps_rows_together(tmp_path):
    train = read(csv(tmp_path, "id,path,label,speaker\na,a.wav,0,k\nb,b.wav,1,l\nc,c.wav,2,m\n")).train
    for rows in (np.array([2, 0]), [2, 0]):
        part = train.take(rows)
        assert (part.ids, part.labels.tolist(), part.speakers) == (("c", "a"), [2, 0], ("m", "k"))
        assert [path.name for path in part.paths] == ["c.wav", "a.wav"]
    assert train.take(np.array([True, False, True])).ids == ("a", "c")
    assert len(train.take([])) == 0


def test_test_clips_alone_are_enough_when_labels_are_not_needed(tmp_path):
    root = competition(tmp_path, train=None)
    wrong(root, r"test\.csv but no train\.csv")
    data = read(root, need_labels=False)
    assert (len(data.train), len(data.test)) == (0, 2)


# --- a CSV of its own ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_korean_csv_reads_the_same_in_each_encoding(tmp_path, encoding):
    data = read(csv(tmp_path, "file_path,emotion\n소리/가.wav,기쁨\n소리/나.wav,슬픔\n", encoding))
    assert data.kind == "csv"
    assert data.train.ids == ("소리/가.wav", "소리/나.wav")
    assert data.label_names == ("sad", "happy")
    assert data.train.labels.tolist() == [1, 0]


def test_names_in_any_alias_become_labels_in_registry_order(tmp_path):
    data = read(csv(tmp_path, "path,label\na.wav,Joy\nb.wav,기쁨\nc.wav,HAPPINESS\nd.wav,분노\ne.wav,surprised\n"))
    assert data.label_names == ("angry", "happy", "surprise")
    assert data.train.labels.tolist() == [1, 1, 1, 0, 2]


def test_six_names_of_the_competition_get_the_competition_order(tmp_path):
    rows = "".join(f"{name}.wav,{name}\n" for name in ["happy", "neutral", "sad", "fear", "disgust", "angry"])
    assert read(csv(tmp_path, f"path,label\n{rows}")).label_names == LABEL_SETS["competition6"]


def test_a_named_label_set_gives_its_own_order_to_names_and_integers(tmp_path):
    by_name = read(csv(tmp_path, "path,label\na.wav,sad\nb.wav,중립\n"), labels="subtitle7")
    by_number = read(csv(tmp_path, "path,label\na.wav,2\nb.wav,0\n"), labels="subtitle7")
    assert by_name.label_names == by_number.label_names == LABEL_SETS["subtitle7"]
    assert by_name.train.labels.tolist() == by_number.train.labels.tolist() == [2, 0]


def test_a_label_outside_the_named_set_is_an_error_even_where_a_near_one_exists(tmp_path):
    wrong(csv(tmp_path, "path,label\na.wav,calm\nb.wav,sad\n"), r"outside the label set competition6: calm", labels="competition6")


def test_whole_floats_are_integers(tmp_path):
    assert read(csv(tmp_path, "path,label\na.wav,3.0\nb.wav, 5\n")).train.labels.tolist() == [3, 5]


def test_column_names_may_be_in_capitals_and_windows_paths_have_backslashes(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a.wav").touch()
    data = read(csv(tmp_path, "ID, Path ,Label\r\na,.\\train\\a.wav,1\r\n"))
    assert data.train.paths[0].samefile(tmp_path / "train/a.wav")


def test_a_missing_file_keeps_its_row(tmp_path):
    data = read(csv(tmp_path, "id,path,label\na,nowhere/a.wav,0\nb,b.wav,1\n"))
    assert data.train.paths == (tmp_path / "nowhere/a.wav", tmp_path / "b.wav")


def test_labels_may_be_absent_or_empty_when_they_are_not_needed(tmp_path):
    for text in ("path\na.wav\n", "path,label\na.wav,\nb.wav,NaN\n"):
        data = read(csv(tmp_path, text), need_labels=False)
        assert data.train.labels is None
        assert data.label_names == ()
    assert read(csv(tmp_path, "path,label\na.wav,3\n"), need_labels=False).train.labels.tolist() == [3]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_korean_file_names_are_found_however_they_are_composed(tmp_path, on_disk):
    other = "NFD" if on_disk == "NFC" else "NFC"
    real = tmp_path / unicodedata.normalize(on_disk, "감정") / unicodedata.normalize(on_disk, "기쁨.wav")
    real.parent.mkdir()
    real.write_bytes(b"x")
    written = unicodedata.normalize(other, "감정/기쁨.wav")
    data = read(csv(tmp_path, f"path,label\n{written},0\n"))
    assert data.train.paths[0].read_bytes() == b"x"
    assert data.train.ids == (written,)


# --- a folder per emotion ---


def emotions(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folder_per_emotion_gives_sorted_clips_named_by_their_relative_path(tmp_path):
    root = emotions(tmp_path, "Sad/x.wav", "Angry/x.wav", "Angry/b.MP3", "Angry/deep/c.m4a", "Joy/d.flac", "기쁨/e.ogg", "Joy/notes.txt")
    data = read(root)
    assert data.kind == "folders"
    assert data.train.ids == ("Angry/b.MP3", "Angry/deep/c.m4a", "Angry/x.wav", "Joy/d.flac", "Sad/x.wav", "기쁨/e.ogg")
    assert data.label_names == ("angry", "sad", "happy")
    assert data.train.labels.tolist() == [0, 0, 0, 2, 1, 2]
    assert all(path.is_file() for path in data.train.paths)


def test_two_files_of_one_name_stay_two_clips(tmp_path):
    assert len(set(read(emotions(tmp_path, "Angry/x.wav", "Sad/x.wav")).train.ids)) == 2


def test_decomposed_korean_folder_names_are_understood(tmp_path):
    root = emotions(tmp_path, unicodedata.normalize("NFD", "분노/가.wav"), unicodedata.normalize("NFD", "서두름/나.wav"))
    assert read(root, labels="korean15").label_names == LABEL_SETS["korean15"]
    assert read(root).label_names == ("angry", "hurry")


def test_hidden_files_and_folders_without_audio_are_no_clips(tmp_path):
    root = emotions(tmp_path, "sad/a.wav", "sad/._a.wav", "sad/.b.wav", ".cache/c.wav", "docs/readme.md", "__MACOSX/sad/._a.wav")
    assert read(root).train.ids == ("sad/a.wav",)


@pytest.mark.parametrize("ending", ["opus", "webm", "aac", "wma", "amr", "aiff", "mts", "mp2", "WAVE", "3gp", "mov"])
def test_audio_and_video_of_any_ending_is_a_clip(ending, tmp_path):
    root = emotions(tmp_path, "Angry/a.wav", f"Happy/b.{ending}")
    assert read(root).train.ids == ("Angry/a.wav", f"Happy/b.{ending}")
    assert read_paths(root, DataConfig())[1] == ["Angry/a.wav", f"Happy/b.{ending}"]


def test_audio_of_an_unknown_ending_is_found_by_its_content_and_the_rest_is_named(tmp_path, capsys):
    root = emotions(tmp_path, "Angry/a.wav", "Happy/notes.txt", "Happy/cover.jpg")
    write_wav(root / "Happy/recording.bak", tone())
    write_wav(root / "Happy/recording", tone())
    assert read(root).train.ids == ("Angry/a.wav", "Happy/recording", "Happy/recording.bak")
    assert "2 files left out, no audio by name or content: Happy/cover.jpg, Happy/notes.txt" in capsys.readouterr().err


@pytest.mark.parametrize("files", [(), ("notes.txt", "model.onnx")])
def test_an_emotions_folder_without_audio_stops_what_needs_labels(files, tmp_path):
    root = emotions(tmp_path, "Angry/a.wav", *(f"Happy/{name}" for name in files))
    (root / "Happy").mkdir(exist_ok=True)
    wrong(root, r"no audio in 1 folder named after an emotion: Happy\. Its class would be missing")
    assert read(root, need_labels=False).train.ids == ("Angry/a.wav",)


def test_demo_data_in_an_empty_input_folder_is_not_taken_for_the_competition(tmp_path, capsys):
    """Fault: `bash train.sh` leaves input/demo; the next command found its clips below input, and an emotion named demo."""
    (tmp_path / "input" / "demo" / "train").mkdir(parents=True)
    write_wav(competition(tmp_path / "input" / "demo") / "train" / "a.wav", tone())
    wrong(tmp_path / "input", r"input holds no train\.csv and no audio")
    assert "demo left out, data of its own with a train.csv (--data.root" in capsys.readouterr().err
    (tmp_path / "input" / "happy").mkdir()
    write_wav(tmp_path / "input" / "happy" / "b.wav", tone())
    assert read_dataset(DataConfig(root=str(tmp_path / "input"))).train.ids == ("happy/b.wav",)


def test_a_folder_that_is_named_like_audio_is_not_lost(tmp_path):
    (tmp_path / "sad/x.wav").mkdir(parents=True)
    assert read(tmp_path).train.ids == ("sad/x.wav",)


def test_a_folder_that_names_no_emotion_is_an_error_only_where_labels_are_needed(tmp_path):
    root = emotions(tmp_path, "happpy/a.wav", "sad/b.wav")
    wrong(root, r"'happpy'.*Did you mean happy")
    assert read(root, need_labels=False).train.ids == ("happpy/a.wav", "sad/b.wav")
    assert read(root, need_labels=False).train.labels is None


def test_a_table_beside_folders_that_are_no_emotions_is_what_was_meant(tmp_path):
    root = emotions(tmp_path, "audio/a.wav", "audio/b.wav")
    (root / "clips.csv").write_text("path,label\naudio/a.wav,sad\n")
    wrong(root, r"named after an emotion \(audio\), but there is a table: --data\.root .*clips\.csv reads that")
    assert read(root, labels="own").label_names == ("audio",)


def test_audio_outside_any_emotion_is_an_error_only_where_labels_are_needed(tmp_path):
    root = emotions(tmp_path, "a.wav", "sad/b.wav")
    wrong(root, r"1 audio file in no emotion's folder: a\.wav")
    assert read(root, need_labels=False).train.ids == ("a.wav", "sad/b.wav")


def test_links_in_a_circle_end(tmp_path):
    root = emotions(tmp_path, "sad/a.wav", "joy/b.wav")
    (root / "sad/up").symlink_to(root)
    (root / "sad/self.wav").symlink_to(root / "sad/self.wav")
    assert read(root).train.ids == ("joy/b.wav", "sad/a.wav", "sad/self.wav")


def test_a_link_to_a_folder_beside_it_does_not_list_its_clips_twice(tmp_path):
    root = emotions(tmp_path, *(f"{name}/x.wav" for name in ("sad", "joy", "fear")))
    for link, target in (("angry", "sad"), ("surprise", "joy"), ("kind", "fear"), ("dry", "fear")):
        (root / link).symlink_to(target)
    assert read(root).train.ids == ("fear/x.wav", "joy/x.wav", "sad/x.wav")


def test_links_out_of_the_folder_need_permission(tmp_path):
    root = emotions(tmp_path / "data", "sad/a.wav")
    emotions(tmp_path / "elsewhere", "b.wav")
    (root / "joy").symlink_to(tmp_path / "elsewhere")
    wrong(root, r"symbolic link out of the folder: joy.*allow_absolute_paths")
    assert read(root, allow_absolute_paths=True).train.ids == ("joy/b.wav", "sad/a.wav")


def test_file_names_in_cp949_are_an_error_that_says_how_to_rename(tmp_path):
    (tmp_path / "sad").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "sad") + b"/" + "가".encode("cp949") + b".wav")).touch()
    wrong(tmp_path, "not in UTF-8.*convmv")


def test_clips_to_predict_come_from_a_folder_or_a_csv_whatever_their_labels(tmp_path):
    root = emotions(tmp_path / "any", "b.wav", "deep/a.ogg", "notes.txt")
    config = DataConfig()
    assert read_paths(root, config) == ([root / "b.wav", root / "deep/a.ogg"], ["b.wav", "deep/a.ogg"])
    assert read_paths(csv(tmp_path, "id,path,label\n7,x.wav,whatever\n"), config) == ([tmp_path / "x.wav"], ["7"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no audio below"):
        read_paths(tmp_path / "empty", config)
    with pytest.raises(UserError, match="outside its folder"):
        read_paths(csv(tmp_path, "path\n/etc/passwd\n"), config)


# --- paths that leave the folder ---


@pytest.mark.parametrize(
    "path", ["../secret.wav", "/etc/passwd", "train/../../secret.wav", "C:\\x.wav", "..\\secret.wav", "link/secret.wav", "s.wav"]
)
def test_a_csv_cannot_name_files_outside_its_folder(tmp_path, path):
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    (tmp_path / "secret.wav").touch()
    (root / "link").symlink_to(tmp_path)
    (root / "s.wav").symlink_to(tmp_path / "secret.wav")
    table = csv(root, f"id,path,label\na,{path},0\n")
    wrong(table, r"1 path outside its folder.*allow_absolute_paths")
    assert read(table, allow_absolute_paths=True).train.ids == ("a",)


def test_dots_and_links_that_stay_inside_are_fine(tmp_path):
    emotions(tmp_path, "train/a.wav")
    (tmp_path / "b.wav").symlink_to("train/a.wav")
    table = csv(tmp_path, "path,label\ntrain/../train/a.wav,0\nb.wav,1\n")
    assert all(path.is_file() for path in read(table).train.paths)


def test_absolute_paths_work_when_allowed(tmp_path):
    clip = emotions(tmp_path / "far", "a.wav") / "a.wav"
    (tmp_path / "near").mkdir()
    assert read(csv(tmp_path / "near", f"file_path,emotion\n{clip},sad\n"), allow_absolute_paths=True).train.paths == (clip,)


# --- what a user gets wrong ---


def test_missing_data_says_how_to_bring_it_and_that_a_demo_exists(tmp_path):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "input", tmp_path / "empty"):
        message = wrong(root, r"train\.csv")
        assert "sample_submission.csv" in message
        assert "bash train.sh" in message
        assert "--data.root" in message
    with pytest.raises(UserError, match=r"data\.root is empty"):
        read_dataset(DataConfig(root=" "))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("id,path,label\n", "no rows under the header"),
        ("id,file,label\na,a.wav,0\n", r"no column path or file_path\. The first line has id, file, label.*separated by commas"),
        ("id,pathh,label\na,a.wav,0\n", r"Is pathh meant\? Then rename it to path"),
        ("id|path|label\na|a.wav|0\n", "separated by commas"),
        ("id,path\na,a.wav\n", "no column label or emotion"),
        ("id,path,path,label\na,a.wav,b.wav,0\n", "2 columns named path; keep one"),
        ("id,path,label\na,a.wav\n", r"line 2: 2 cells where the header has 3"),
        ("id,path,label\na,b,c.wav,0\n", r"line 2: 4 cells where the header has 3.*double quotes"),
        ('id,path,label\na,"a.wav,0\n', r"not a readable CSV"),
        ("id,path,label\na,a.wav,0\na,b.wav,1\n", "1 id more than once: a"),
        ("path,label\na.wav,0\na.wav,1\n", r"1 id more than once: a\.wav"),
        ("id,path,label\na,a.wav,0\n,b.wav,1\n", "1 row without an id: row 3"),
        ('id,path,label\n"a\nb",a.wav,0\n', r"1 id with control characters.*a\\nb"),
        ("id,path,label\na,,0\n", "1 row whose path is empty"),
        ("id,path,label\na,a\0.wav,0\n", "path is empty or holds a NUL"),
        ("id,path,label\na,a.wav,\nb,b.wav,NaN\nc,c.wav,1\n", "2 rows without a label: row 2, row 3"),
        (
            "id,path,label\na,a.wav,6\nb,b.wav,-1\n",
            r"out of range: -1, 6\. Allowed: 0 angry, 1 fear, 2 sad, 3 disgust, 4 neutral, 5 happy",
        ),
        ("id,path,label\na,a.wav,1.5\nb,b.wav,2\n", r"some labels are integers, others are not: 1\.5"),
        ("id,path,label\na,a.wav,sad\nb,b.wav,2\n", "some labels are integers, others are not: sad"),
        ("id,path,label\na,a.wav,hapy\n", "Did you mean happy"),
        ("id,path,label\na,a.wav,foo\nb,b.wav,bar\n", "2 labels that name no emotion: foo, bar"),
        ("id,path,label\na,a.wav,LABEL_0\n", "id2label"),
        ("id,path,label,speaker\na,a.wav,0,kim\nb,b.wav,0,\n", "no speaker for 1 clip: b"),
    ],
)
def test_a_wrong_table_ends_in_one_message(tmp_path, text, message):
    assert "clips.csv" in wrong(csv(tmp_path, text), message)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"sample": "id,label\nTEST_0000,0\nTEST_0002,0\n"},
            r"don't match test.csv: 1 missing \(TEST_0001\) and 1 too many \(TEST_0002\)",
        ),
        ({"sample": "id,label\nTEST_0000,0\nTEST_0000,0\n"}, "1 id more than once"),
        ({"sample": "id\nTEST_0000\nTEST_0001\n"}, "no column label"),
        ({"test": "id\nTEST_0000\n"}, "no column path"),
        ({"test": "id,path\n"}, r"test\.csv: no rows"),
        ({"speakers": "id,speaker\nTRAIN_0000,A\n"}, "no speaker for 1 training clip: TRAIN_0001"),
        ({"speakers": "id,speaker\nTRAIN_0000,A\nTRAIN_0001,\n"}, "no speaker for 1 training clip"),
        ({"speakers": "id,speaker\nTRAIN_0000,A\nTRAIN_0000,B\nTRAIN_0001,A\n"}, "1 id more than once"),
        ({"speakers": "id,actor\nTRAIN_0000,A\n"}, "no column speaker"),
    ],
)
def test_a_wrong_competition_folder_ends_in_one_message(tmp_path, files, message):
    wrong(competition(tmp_path, **files), message)


def test_other_wrong_roots_and_settings_end_in_one_message(tmp_path):
    root = competition(tmp_path)
    wrong(root, "no such set.*competition6", labels="competition")
    wrong(root, "data.speakers", speakers=str(tmp_path / "nowhere.csv"))
    wrong(emotions(tmp_path, "a.wav") / "a.wav", "is an audio file")
    (tmp_path / "book.xlsx").write_bytes(bytes(range(256)))
    wrong(tmp_path / "book.xlsx", "not text in UTF-8 or cp949")


# --- whatever a table holds: a data set, or one message ---

CELLS = st.one_of(
    st.sampled_from(["", " ", "0", "5", "6", "-1", "3.0", "1e3", "nan", "NULL", "sad", "Joy", "기쁨", "LABEL_1", "٣", "१"]),
    st.sampled_from(["a.wav", "b.wav", "./c/d.wav", "../x.wav", "/etc/passwd", "C:\\x", ".", "..", "~", "가.wav", "x" * 5000]),
    st.sampled_from(["a\0b", "a\nb", "a,b", '"', "=1+1"]),
    st.text(max_size=12),
)
HEADERS = st.one_of(
    st.sampled_from([("id", "path", "label"), ("file_path", "emotion"), ("id", "path", "label", "speaker"), ("path", "label")]),
    st.lists(st.one_of(st.sampled_from(["id", "ID", " path", "path", "file_path", "label", "emotion", "speaker", ""]), CELLS), max_size=6),
)


@st.composite
def tables(draw) -> bytes:
    header = draw(HEADERS)
    width = st.just(len(header)) if draw(st.integers(0, 9)) else st.integers(0, 6)
    rows = draw(st.lists(width.flatmap(lambda cells: st.lists(CELLS, min_size=cells, max_size=cells)), max_size=6))
    quoted = draw(st.booleans())

    def line(cells):
        return ",".join('"' + cell.replace('"', '""') + '"' if quoted else cell for cell in cells)

    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(line(cells) for cells in [header, *rows])
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "cp949", "utf-16"])), "replace")


@st.composite
def spoilt_tables(draw) -> bytes:
    """A good table, one cell of which may hold anything."""
    rows = [[f"C{row}", f"./{row}.wav", str(row % 6), f"S{row}"] for row in range(draw(st.integers(1, 4)))]
    if draw(st.booleans()):
        rows[draw(st.integers(0, len(rows) - 1))][draw(st.integers(0, 3))] = draw(CELLS)
    return pd.DataFrame(rows, columns=["id", "path", "label", "speaker"]).to_csv(index=False).encode("utf-8", "replace")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.one_of(tables(), spoilt_tables(), st.binary(max_size=200)),
    form=st.sampled_from(["csv", "train", "test", "sample", "speakers"]),
    labels=st.sampled_from(["auto", "competition6", "korean15"]),
    need_labels=st.booleans(),
)
def test_whatever_a_table_holds_it_ends_in_a_data_set_or_one_message(tmp_path, table, form, labels, need_labels):
    competition(tmp_path, speakers="id,speaker\nTRAIN_0000,A\nTRAIN_0001,B\n")
    names = {"train": "train.csv", "test": "test.csv", "sample": "sample_submission.csv", "speakers": "train_speakers.csv"}
    root = tmp_path if form in names else tmp_path / "clips.csv"
    (tmp_path / names.get(form, "clips.csv")).write_bytes(table)
    if form in ("csv", "train"):
        (tmp_path / "train_speakers.csv").unlink()
    try:
        data = read(root, need_labels, labels=labels)
    except UserError as error:
        message = str(error)
        assert len(message) < 1500
        assert "\n" not in message
        return
    check_sound(data, tmp_path, need_labels)


def check_sound(data: Dataset, folder: Path, need_labels: bool) -> None:
    assert isinstance(data, Dataset)
    for part in (data.train, data.test):
        if part is None:
            continue
        assert len(part.ids) == len(part.paths) == len(set(part.ids)) > 0
        assert all(name.strip() for name in part.ids)
        for path in part.paths:
            assert os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)
    if need_labels:
        assert data.train.labels is not None
    if data.train.labels is not None:
        assert data.train.labels.shape == (len(data.train),)
        assert data.train.labels.min() >= 0
        assert data.train.labels.max() < len(data.label_names)
        assert all(map(is_emotion, data.label_names))
    if data.sample is not None:
        assert sorted(data.sample.ids) == sorted(data.test.ids)


@settings(max_examples=max(EXAMPLES // 8, 50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf")), min_size=1, max_size=8).filter(str.strip),
            st.integers(0, 5),
            st.sampled_from(["kim", "이", "3"]),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[0],
    )
)
def test_a_good_table_written_by_pandas_is_read_back_whole(tmp_path, rows):
    frame = pd.DataFrame(rows, columns=["id", "label", "speaker"])
    frame.insert(1, "path", [f"./train/{number}.wav" for number in range(len(rows))])
    frame.to_csv(tmp_path / "clips.csv", index=False)
    train = read(tmp_path / "clips.csv").train
    assert list(zip(train.ids, train.labels.tolist(), train.speakers, strict=True)) == rows
