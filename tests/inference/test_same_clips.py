"""A clip is its file's bytes: runs that decoded it differently know it as the same, and as one they were trained on."""

import shutil

import pytest
import yaml

from runs import edit_json
from ser import predict
from ser.compare.adapters import open_candidate
from ser.compare.candidates import read_candidates
from ser.compare.labelled import read_labelled
from ser.config import DataConfig
from ser.ensemble.blend import blend_runs
from ser.evaluate import __main__ as evaluate
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from sounds import tone, write_wav
from tiny import make_tiny_data

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Demo data and two runs on it, which differ in data.max_seconds and data.noise_reduction."""
    place = tmp_path_factory.mktemp("same")
    data = make_tiny_data(place / "data", clips=24, test_clips=6)
    for name, own in {"whole": {}, "cut": {"max_seconds": 0.5, "noise_reduction": True}}.items():
        sections = {
            "data": {"root": str(data), "cache": str(place / "cache"), **own},
            "model": {"kind": "mfcc_cnn", "mfcc_cnn": {"channels": [4, 4]}},
            "train": {"epochs": 1},
            "cv": {"n": 2},
            "tracking": {"mode": "disabled"},
            "run": {"output": str(place / name)},
        }
        (place / f"{name}.yaml").write_text(yaml.safe_dump(sections))
        train.main(["--config", str(place / f"{name}.yaml")])
    return place


def as_made_before(run, folder):
    """A copy of the run as it was before files' hashes were kept."""
    shutil.copytree(run, folder)
    data = read_json(folder / "data.json")
    parts = {part: [{key: value for key, value in clip.items() if key != "file_hash"} for clip in data[part]] for part in ("train", "test")}
    edit_json(folder / "data.json", **parts)
    return folder


def test_runs_that_differ_only_in_how_clips_are_decoded_blend(place, tmp_path):
    record = blend_runs([place / "whole", place / "cut"], tmp_path / "both.csv")
    assert record["test_clips"] == 6


def test_runs_of_one_id_with_two_contents_are_refused(place, tmp_path):
    shutil.copytree(place / "cut", tmp_path / "changed")
    test = read_json(place / "cut" / "data.json")["test"]
    edit_json(tmp_path / "changed" / "data.json", test=[test[0] | {"file_hash": "0" * 32}, *test[1:]])
    with pytest.raises(UserError, match=f"different data.*1 clip.*{test[0]['id']}"):
        blend_runs([place / "whole", tmp_path / "changed"], tmp_path / "both.csv")


@pytest.mark.parametrize("name", ["whole", "cut"])
def test_a_run_answers_its_own_clips_out_of_fold_however_they_are_decoded_now(name, place):
    data = DataConfig(root=str(place / "data"), cache=str(place / "cache"), max_seconds=0.7)
    (candidate,) = read_candidates([f"run:{place / name}"])
    opened = open_candidate(candidate, read_labelled(data, 2, 0), make_accelerator("fp32"), 0)
    assert opened.how.startswith("its own out-of-fold predictions (")


def told_by_evaluate(run, place, tmp_path, capsys, root="data") -> str:
    words = [
        "--model",
        str(run),
        "--data.root",
        str(place / root),
        "--data.cache",
        str(place / "cache"),
        "--output",
        str(tmp_path / "report"),
    ]
    evaluate.main(words)
    return capsys.readouterr().out


def test_clips_of_the_training_data_are_noticed_by_their_bytes(place, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(place / "cut", run)
    clips = read_json(run / "data.json")["train"]
    edit_json(run / "data.json", train=[clip | {"audio_hash": "decoded otherwise"} for clip in clips])
    assert "24 of 24 clips were in this model's training data" in told_by_evaluate(run, place, tmp_path, capsys)


def test_runs_made_before_files_were_hashed_are_read_and_know_their_clips_by_the_sound(place, tmp_path, capsys):
    whole, again, cut = (as_made_before(place / name, tmp_path / to) for name, to in (("whole", "a"), ("whole", "b"), ("cut", "c")))
    assert "24 of 24 clips were in this model's training data" in told_by_evaluate(cut, place, tmp_path, capsys)
    blend_runs([whole, again], tmp_path / "both.csv")
    blend_runs([whole, place / "whole"], tmp_path / "mixed.csv")
    with pytest.raises(UserError, match="different data"):
        blend_runs([whole, cut], tmp_path / "other.csv")


def test_predictions_of_single_files_share_one_folder_of_clips(place, tmp_path):
    for path in sorted((place / "data" / "train").glob("*.wav"))[:3]:
        predict.main(["--model", str(place / "whole"), str(path), "--data.cache", str(tmp_path / "cache")])
    left = [path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()]
    assert sorted({*left, "file_hashes.csv"}) == ["clips", "file_hashes.csv"] and left.count("clips") == 1


def test_a_changed_clip_ends_a_run_that_goes_on(place, tmp_path):
    shutil.copytree(place / "data", tmp_path / "data")
    shutil.copytree(place / "whole", tmp_path / "run")
    write_wav(tmp_path / "data" / "train" / "TRAIN_0003.wav", tone(0.6))
    words = ["--config", str(place / "whole.yaml"), "--data.root", str(tmp_path / "data"), "--run.output", str(tmp_path / "run")]
    with pytest.raises(UserError, match="begun with other data") as caught:
        train.main(words)
    assert "train: 1 changed" in str(caught.value)
