"""Several labels a clip: both forms of a table say the same, and what can be wrong with them."""

import numpy as np
import pytest

from ser.config import DataConfig
from ser.data.label_matrix import from_plain, label_sets, listed, plain, strata
from ser.data.tables import read_dataset
from ser.runtime.errors import UserError


def read(tmp_path, text, **keys):
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    return read_dataset(DataConfig(root=str(tmp_path / "train.csv"), multi_label=True, **keys))


def test_columns_and_lists_say_the_same(tmp_path):
    columns = read(tmp_path, "id,text,label_기쁨,label_sad,label_Anger\na,x,1,0,1\nb,y,,true,0\nc,z,0,0.0,\n")
    lists = read(tmp_path, "id,text,label\na,x,joy|angry\nb,y,sadness\nc,z,\n")
    mixed = read(tmp_path, 'id,text,emotion\na,x,"화남, 기쁨"\nb,y,sad;Sadness\nc,z,none\n')
    for found in (columns, lists, mixed):
        assert found.label_names == ("angry", "sad", "happy")
        assert found.train.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert lists.train.take(np.array([1])).labels.tolist() == [[0, 1, 0]]
    assert listed(lists.train.labels, lists.label_names) == ["angry|happy", "sad", ""]


def test_own_names_and_numbers_of_a_label_set_work_too(tmp_path):
    own = read(tmp_path, "id,text,label\na,x,불평/불만|없음\nb,y,없음\n", labels="own")
    assert own.label_names == ("불평/불만", "없음") and own.train.labels.tolist() == [[1, 1], [0, 1]]
    numbers = read(tmp_path, "id,text,label\na,x,0|5\nb,y,2\n", labels="competition6")
    assert numbers.train.labels.tolist() == [[1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,text,label,label_sad\na,x,sad,1\n", "keep one of the two forms"),
        ("id,text,label_sad,label_joy\na,x,2,0\n", "column label_sad holds '2'; allowed are 0 and 1, in row 2"),
        ("id,text,label_joy,label_happy\na,x,1,0\n", "two columns name the same label"),
        ("id,text,label\na,x,sad|furios\nb,y,joy|glad\n", "2 labels that name no emotion: furios, glad"),
        ("id,text,label_sad,label_joy,label_happy\na,x,1,0,1\n", "name the same label: label_joy, label_happy"),
        ("id,text,label\na,x,\"['joy', 'sad']\"\nb,y,joy\n", "write them as joy|sadness"),
        ("id,text,label\na,x,joy/sad\nb,y,joy\n", "given joy/sad, which is 2 labels with / between; allowed is |, a comma or ;"),
        ("id,text,label\na,x,joy sad\nb,y,joy\n", "2 labels with a space between"),
        ("id,text,label\na,x,0/5\nb,y,2\n", "given 0/5, which is 2 labels with / between"),
        ("id,text,label\na,x,\nb,y,nan\n", "not one row has a label"),
        ("id,text\na,x\n", "no column label or emotion"),
        ("id,text,label,votes_sad,votes_joy\na,x,sad,1,2\n", "columns of votes"),
    ],
)
def test_what_is_wrong_with_the_labels_is_said(tmp_path, text, says):
    with pytest.raises(UserError, match=says.replace("|", r"\|")):
        read(tmp_path, text)


def test_names_that_were_taken_for_another_label_are_kept_but_not_those_that_differ_in_case(tmp_path):
    assert read(tmp_path, "id,text,label\na,x,joy|Sad\nb,y,기쁨;anger\n").renamed == {"joy": "happy", "기쁨": "happy", "anger": "angry"}
    assert read(tmp_path, "id,text,label_joy,label_sad\na,x,1,0\nb,y,0,1\n").renamed == {"joy": "happy"}
    assert read(tmp_path, "id,text,label\na,x,joy|sad\nb,y,sad\n", labels="own").renamed == {}


def test_a_folder_per_emotion_has_one_label_a_clip(tmp_path):
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="folder per emotion"):
        read_dataset(DataConfig(root=str(tmp_path), multi_label=True))


def test_the_matrix_goes_through_json_and_back():
    matrix = np.array([[1, 0, 1], [0, 0, 0]])
    assert [plain(row) for row in matrix] == [[0, 2], []] and plain(np.int64(4)) == 4
    np.testing.assert_array_equal(from_plain([[0, 2], []], 3), matrix)
    with pytest.raises(ValueError, match="from 0 to 2"):
        from_plain([[3]], 3)
    assert label_sets(np.array([2, 0])).tolist() == [2, 0]
    first, second, third = label_sets(np.array([[1, 0], [0, 0], [1, 0]]))
    assert first == third != second


def test_clips_are_stratified_by_their_rarest_label_that_can_be_shared_out():
    labels = np.zeros((20, 3), np.int64)
    labels[:16, 0] = 1
    labels[:6, 1] = 1
    labels[:2, 2] = 1  # too few for five folds
    found = strata(labels, 5)
    assert found[:6].tolist() == [1] * 6 and found[6:16].tolist() == [0] * 10
    assert set(found[16:].tolist()) == {0}, "four clips without a label go with the largest group"


@pytest.mark.parametrize(
    "text",
    [
        "id,text,label_joy,label_sad\na,x,1,0\nb,y,0,1\n",
        "id,text,label\na,x,joy|sad\nb,y,\n",
        "id,text,label\na,x,joy;sad\nb,y,joy\n",
        "id,text,label\na,x,0/5\nb,y,2\n",
    ],
)
def test_several_labels_without_the_key_are_told_of_it(tmp_path, text):
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"--data\.multi_label true"):
        read_dataset(DataConfig(root=str(tmp_path / "train.csv")))
