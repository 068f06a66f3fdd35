"""Which runs a notebook takes when it is given none."""

import os

import pytest

from runs import LABELS, make_run
from ser.inference.finished_runs import finished_runs
from ser.runtime.errors import UserError
from ser.runtime.files import write_json


def finish(folder, age: int):
    write_json(folder / "report.json", {})  # written last of a run
    os.utime(folder / "report.json", (1e9 - age, 1e9 - age))


def test_finished_runs_over_the_newest_ones_clips_newest_first(tmp_path):
    finish(make_run(tmp_path / "first", seed=1), age=300)
    finish(make_run(tmp_path / "second", seed=2), age=200)
    finish(make_run(tmp_path / "of_other_clips", clips=36), age=250)
    make_run(tmp_path / "unfinished", seed=3)
    assert [folder.name for folder in finished_runs(tmp_path)] == ["second", "first"]
    finish(make_run(tmp_path / "of_other_labels", label_names=LABELS[:4]), age=100)
    assert [folder.name for folder in finished_runs(tmp_path)] == ["of_other_labels"]


def test_given_runs_are_taken_as_they_are(tmp_path):
    assert [str(folder) for folder in finished_runs(tmp_path, ["outputs/b", "outputs/a"])] == ["outputs/b", "outputs/a"]


def test_without_any_run_it_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=r"no finished run in .*bash train\.sh"):
        finished_runs(tmp_path)
