"""Labels of one's own: a data set whose labels the registry doesn't know."""

from pathlib import Path

import pandas as pd
import pytest

from ser.config import DataConfig
from ser.data.tables import read_dataset
from ser.runtime.errors import UserError


def labels_of(folder: Path, *cells: str, labels: str = "own"):
    pd.DataFrame({"path": [f"{n}.wav" for n in range(len(cells))], "label": cells}).to_csv(folder / "clips.csv", index=False)
    data = read_dataset(DataConfig(root=str(folder / "clips.csv"), labels=labels))
    return data.label_names, data.train.labels.tolist()


def test_own_labels_are_the_names_as_they_stand_in_sorted_order(tmp_path):
    assert labels_of(tmp_path, "Sleepy", " Amused", "Sleepy") == (("Amused", "Sleepy"), [1, 0, 1])
    assert labels_of(tmp_path, "positive", "negative") == (("negative", "positive"), [1, 0])
    assert labels_of(tmp_path, "W", "L", "N") == (("L", "N", "W"), [2, 0, 1])
    assert labels_of(tmp_path, "10", "9.0", "1") == (("1", "9", "10"), [2, 1, 0])


def test_own_labels_come_from_folders_too(tmp_path):
    for name in ("Sleepy", "Amused"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
    assert read_dataset(DataConfig(root=str(tmp_path), labels="own")).label_names == ("Amused", "Sleepy")


@pytest.mark.parametrize("cells", [("Sleepy",), ("Sleepy", "Amused"), ("7", "8")])
def test_the_message_that_refuses_them_says_how_to_train_on_them(tmp_path, cells):
    with pytest.raises(UserError, match=r"--data\.labels own"):
        labels_of(tmp_path, *cells, labels="auto")


def test_ids_that_a_speakers_file_does_not_know_are_shown_beside_its_own(tmp_path):
    (tmp_path / "clips.csv").write_text("id,path,label\nA_1,a.wav,0\nA_2,b.wav,1\n")
    (tmp_path / "who.csv").write_text("id,speaker\nA_1.wav,kim\nA_2.wav,lee\n")
    with pytest.raises(UserError, match=r"no speaker for 2 training clips: A_1, A_2\. Its ids are like A_1\.wav, A_2\.wav"):
        read_dataset(DataConfig(root=str(tmp_path / "clips.csv"), speakers=str(tmp_path / "who.csv")))
