import json

import numpy as np
import pandas as pd
import pytest

from ser.runtime.files import atomic_folder, atomic_path, read_json, write_csv, write_json


def test_a_failed_write_leaves_the_old_file_and_no_leftovers(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_folder_and_no_leftovers(tmp_path):
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        (folder / "x").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target) as folder:
        (folder / "x").write_text("2")
        raise RuntimeError
    assert (target / "x").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "model") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


def test_float32_survives_the_csv(tmp_path):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 10.0 ** np.arange(-3, 7).repeat(100)
    write_csv(tmp_path / "t.csv", pd.DataFrame({"x": values.astype(np.float32)}))
    assert (pd.read_csv(tmp_path / "t.csv")["x"].to_numpy(np.float32) == values.astype(np.float32)).all()


def test_json_takes_numpy_values_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(2)})
    assert read_json(tmp_path / "a.json") == {"n": 3, "x": 0.5, "v": [0, 1]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_json_keeps_every_bit_of_a_float(tmp_path):
    values = np.random.default_rng(1).normal(size=100).tolist()
    write_json(tmp_path / "a.json", {"v": values})
    assert json.loads((tmp_path / "a.json").read_text())["v"] == values
