"""The sample submission is looked at before anything is trained, by the code that fills it in."""

from pathlib import Path

import numpy as np
import pytest

from ser.config import DataConfig
from ser.data.labels import LABEL_SETS
from ser.data.tables import read_dataset
from ser.ensemble.submission import make_submission
from ser.runtime.errors import UserError

LABELS = LABEL_SETS["competition6"]
TEST_IDS = ("T0", "T1")


def sample(folder: Path, text: str, train: str = "0", **keys) -> Path:
    """A competition folder with this sample; it is read as training reads it."""
    (folder / "train.csv").write_text(f"id,path,label\na,a.wav,{train}\n")
    (folder / "test.csv").write_text("id,path\nT0,x.wav\nT1,y.wav\n")
    (folder / "sample_submission.csv").write_text(text)
    read_dataset(DataConfig(root=str(folder), **keys))
    return folder / "sample_submission.csv"


def filled(path: Path, label_names: tuple[str, ...] = LABELS) -> str:
    return make_submission(path, TEST_IDS, np.array([5, 0]), label_names).to_csv(index=False)


@pytest.mark.parametrize(
    ("text", "submission"),
    [
        ("id,label\nT0,0.0\nT1,0.0\n", "id,label\nT0,5\nT1,0\n"),
        ("ID,Label\nT1,0\nT0,0\n", "ID,Label\nT1,0\nT0,5\n"),
        ("id,label,note\nT0,0,\nT1,0,x\n", "id,label,note\nT0,5,\nT1,0,x\n"),
        (",id,label\n0,T0,0\n1,T1,0\n", ",id,label\n0,T0,5\n1,T1,0\n"),
        ("id,label\nT0,\nT1,\n,\n", "id,label\nT0,5\nT1,0\n"),
        ("\ufeff\ufeffid;label\nT0;NaN\nT1;0\n", "id,label\nT0,5\nT1,0\n"),
        ("id,label\nT0,angry\nT1,angry\n", "id,label\nT0,happy\nT1,angry\n"),
        ("id,label\nT0,Angry\nT1,Angry\n", "id,label\nT0,Happy\nT1,Angry\n"),
        ("id,label\nT0,분노\nT1,분노\n", "id,label\nT0,기쁨\nT1,분노\n"),
        ("id,label\nT0,Joy\nT1,Joy\n", "id,label\nT0,Joy\nT1,Angry\n"),
    ],
)
def test_what_train_csv_may_have_is_taken_and_the_submission_has_its_form(tmp_path, text, submission):
    assert filled(sample(tmp_path, text)) == submission


def test_labels_are_written_as_train_csv_writes_them(tmp_path):
    path = sample(tmp_path, "id,label\nT0,anger\nT1,anger\n", train="Happiness\nb,b.wav,anger")
    assert make_submission(path, TEST_IDS, np.array([1, 0]), ("angry", "happy")).to_csv(index=False) == "id,label\nT0,Happiness\nT1,anger\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,label\nT0,0\nT1,6\n", "shows the label 6"),
        ("id,label\nT0,happy\nT1,sleepy\n", "shows the label 'sleepy'"),
        ("id,label\nT0,0\nT2,0\n", r"don't match test.csv: 1 missing \(T1\) and 1 too many \(T2\)"),
        ("label,id\n0,T0\n0,T1\n", "has the columns label, id"),
        ("id,score\nT0,0\nT1,0\n", "no column label"),
        ("id,label,label\nT0,0,0\nT1,0,0\n", "2 columns named label"),
    ],
)
def test_a_sample_that_cannot_be_filled_in_is_refused_before_training(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        sample(tmp_path, text)


def test_a_sample_of_ones_own_labels_shows_them_or_their_numbers(tmp_path):
    own = ("Amused", "Sleepy", "a", "b", "c", "negative")
    assert filled(sample(tmp_path, "id,label\nT0,Sleepy\nT1,Sleepy\n", "Sleepy", labels="own"), own) == "id,label\nT0,negative\nT1,Amused\n"
    assert filled(sample(tmp_path, "id,label\nT0,0\nT1,0\n", "Sleepy", labels="own"), own) == "id,label\nT0,5\nT1,0\n"
    ones = ("1", "2", "3", "4", "5", "6")
    assert filled(sample(tmp_path, "id,label\nT0,1.0\nT1,1\n", "1", labels="own"), ones) == "id,label\nT0,6\nT1,1\n"
