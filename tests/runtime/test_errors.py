"""What a user gets wrong ends in one clear message, exit code 2 and nothing half-written."""

import shutil
import stat
from pathlib import Path

import pandas as pd
import pytest

from ser.runtime.errors import run_command
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


@pytest.fixture
def data(original, tmp_path):
    shutil.copytree(original, tmp_path / "data")
    return tmp_path / "data"


def rewrite(path: Path, change) -> None:
    table = pd.read_csv(path, dtype=str)
    change(table).to_csv(path, index=False)


def fail(capsys, data: Path, *argv: str, **sections) -> str:
    """Run the real command, expect it to fail; returns what it said."""
    config = write_tiny_config(data.parent / "tiny.yaml", data, **sections)
    with pytest.raises(SystemExit) as ended:
        run_command(train.main, ["--config", str(config), *argv])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("error:") == 1
    assert "Traceback" not in said
    left = [path for path in (data.parent / "outputs").rglob("*") if path.is_file() and ".lock" not in path.name]
    assert not [path for path in left if path.name.startswith(".") or path.name in ("metrics.json", "oof.csv")]
    return said


def with_cell(column: str, row: int, value: str):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("train.csv", lambda table: table.drop(columns="label"), "label"),
        ("train.csv", with_cell("path", 3, "../../outside.wav"), "outside"),
        ("train.csv", with_cell("path", 3, "/etc/passwd"), "allow_absolute_paths"),
        ("train.csv", with_cell("path", 3, "./train/no_such.wav"), "missing"),
        ("train.csv", with_cell("label", 3, "6"), "0 angry"),
        ("train.csv", with_cell("id", 3, "TRAIN_0000"), "TRAIN_0000"),
        ("sample_submission.csv", lambda table: table.iloc[1:], "TEST_0000"),
    ],
)
def test_a_table_that_does_not_fit(capsys, data, file, change, told):
    rewrite(data / file, change)
    assert told in fail(capsys, data)


def test_missing_input_says_where_the_data_goes(capsys, data):
    assert "train.csv" in fail(capsys, data, "--data.root", str(data / "nowhere"))


def test_a_class_with_fewer_clips_than_folds_is_named(capsys, data):
    rewrite(data / "train.csv", lambda table: table[(table["label"] != "3") | ~table["label"].duplicated()])
    assert "disgust" in fail(capsys, data)


def test_an_unknown_key_names_the_near_one(capsys, data):
    assert "train.epochs" in fail(capsys, data, "--train.epocs", "3")


def test_a_checkpoint_that_cannot_be_reached_says_how_to_bring_it_and_binds_nobody(capsys, data, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = fail(capsys, data, "--model.from_scratch", "null", "--model.name", "facebook/no-such-encoder")
    assert "hf download" in said
    assert "--model.name" in said
    # The same output folder takes another model now: nothing was trained in it.
    train.main(["--config", str(data.parent / "tiny.yaml"), "--folds", "0", "--train.epochs", "1"])


def test_an_output_that_may_not_be_written_is_said(capsys, data):
    blocked = data.parent / "file"
    blocked.write_text("not a folder")
    blocked.chmod(stat.S_IRUSR)
    said = fail(capsys, data, "--run.output", str(blocked / "run"))
    assert str(blocked) in said


def test_bad_training_audio_stops_with_a_list_or_is_dropped_when_asked(capsys, data):
    """Fault 7: an undecodable file trained on as silence with its real label."""
    (data / "train" / "TRAIN_0001.wav").write_bytes(b"no audio")
    (data / "test" / "TEST_0001.wav").write_bytes(b"")
    said = fail(capsys, data)
    assert "TRAIN_0001" in said
    assert "on_bad_audio drop" in said
    config = str(data.parent / "tiny.yaml")
    train.main(["--config", config, "--data.on_bad_audio", "drop", "--train.epochs", "1", "--folds", "0"])
    folder = data.parent / "outputs" / "tiny"
    assert "TRAIN_0001" not in pd.read_csv(folder / "folds.csv")["id"].tolist()
    test = pd.read_csv(folder / "fold_0" / "test.csv").set_index("id")
    labels = pd.read_csv(data / "train.csv").query("id != 'TRAIN_0001'")["label"]
    assert test.loc["TEST_0001"].to_numpy() == pytest.approx(labels.value_counts(normalize=True).sort_index().to_numpy())
