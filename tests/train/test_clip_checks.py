"""Before a run trains it says which clips it cuts, and stops where a label would lose all of its clips."""

import numpy as np
import pytest

from ser.config import DataConfig
from ser.data.store import ClipStore
from ser.runtime.errors import UserError
from ser.train.clip_checks import check_no_label_vanished, tell_cut
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
