"""Before a run trains it says which clips it cuts and which labels have none, and stops where a label would lose all of its clips."""

import numpy as np
import pytest

from ser.config import DataConfig
from ser.data.store import ClipStore
from ser.runtime.errors import UserError
from ser.train.clip_checks import check_no_label_vanished, tell_absent, tell_cut
from sounds import tone, write_wav


def test_clips_that_are_cut_are_counted_and_told_whatever_else_is_wrong_with_them(tmp_path, capsys):
    waves = {"short": tone(1.0), "long": tone(3.0), "clipped": np.clip(tone(3.0, level=2.0), -1, 1)}
    paths = [write_wav(tmp_path / f"{name}.wav", wave) for name, wave in waves.items()]
    store = ClipStore.open(paths, DataConfig(cache=str(tmp_path / "cache"), max_seconds=2.0))
    assert tell_cut({"training": store, "test": None}, 2.0) == {"training": 2, "test": 0}
    assert "2 of 3 training clips are longer than data.max_seconds: only their first 2 s are heard" in capsys.readouterr().out


def test_a_label_that_loses_all_its_clips_stops_the_run():
    check_no_label_vanished(np.array([0, 1, 1]), np.array([1, 0]), ["angry", "sad"])
    with pytest.raises(UserError, match="not one clip of 1 label can be used: angry"):
        check_no_label_vanished(np.array([0, 1, 1]), np.array([1, 1]), ["angry", "sad"])


def test_labels_without_a_clip_are_named_with_what_to_do(capsys):
    names = ["angry", "sad", "fear", "shy"]
    tell_absent(np.array([0, 1, 1]), names, "korean15")
    told = capsys.readouterr().out
    assert "2 of 4 labels (data.labels korean15) have no training clip and can't be learned: fear, shy. " in told
    assert "--data.labels auto" in told
    tell_absent(np.array([0, 1, 1]), names, "auto")  # these were numbers
    assert "--data.labels own" in capsys.readouterr().out
    tell_absent(np.array([[1, 1, 1, 0]]), names, "auto")
    assert "can't be learned: shy. To train on the others alone: take their columns out." in capsys.readouterr().out
    tell_absent(np.array([0, 1, 2, 3]), names, "korean15")
    assert capsys.readouterr().out == ""
