"""A bundle predicts on its own, without network, what the ensemble submitted: to the byte."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from checkpoints import make_checkpoint
from ser.bundle.__main__ import main
from ser.bundle.making import _of_other_precision, compare
from ser.bundle.predicting import as_written, told
from ser.bundle.predicting import main as predict
from ser.bundle.wheels import NEEDED, pinned
from ser.config import ClassicalConfig, ModelConfig, load_config
from ser.config.data import ALWAYS_TRAINED
from ser.ensemble.blend import blend_runs
from ser.ensemble.members import read_members
from ser.inference.runs import read_run
from ser.runtime.device import precision_as_trained
from ser.runtime.errors import UserError
from ser.train.__main__ import main as train
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.signals import Stopper
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "-rn"] if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0 else []
"""A network namespace without any interface, where the system allows one."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data (one test clip can't be read), a trained network, a frozen encoder's head, and a bundle of both, stacked."""
    place = tmp_path_factory.mktemp("bundle")
    data = make_tiny_data(place / "data")
    (data / "test" / "TEST_0003.wav").write_bytes(b"no audio")
    frozen = {
        "name": str(make_checkpoint(place / "whisper", "whisper")),
        "from_scratch": None,
        "freeze": "encoder",
        "pooling": "statistics",
    }
    for name, sections in {"net": {"train": {"epochs": 1}}, "frozen": {"model": frozen}}.items():
        run = open_experiment(load_config(write_tiny_config(place / f"{name}.yaml", data, **sections)))
        with Stopper() as stopper:
            for fold in range(2):
                train_fold(run, fold, stopper)
    main([*map(str, runs_of(place)), "--method", "stack", "--output", str(place / "made"), "--estimate", "0"])
    (place / "made").rename(place / "moved")  # nothing in it may hold on to where it was made
    return place


def runs_of(place: Path) -> list[Path]:
    return [place / "outputs" / "net", place / "outputs" / "frozen"]


def bare(*words: object, folder: Path) -> subprocess.CompletedProcess:
    """Run Python without network, and without this project on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [*ALONE, sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.long
def test_the_notebook_in_a_bundle_writes_the_submission_of_the_ensemble_to_the_byte(place, tmp_path):
    blend_runs(runs_of(place), tmp_path / "blend.csv", "stack")
    inputs = tmp_path / "input"
    shutil.copytree(place / "data", inputs / "competition", ignore=shutil.ignore_patterns("train*", "test_labels.csv"))
    shutil.copytree(place / "moved", inputs / "bundle")
    cells = json.loads((inputs / "bundle" / "predict_kaggle.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "notebook.py").write_text(code.replace("/kaggle/input", str(inputs)))
    done = bare(tmp_path / "notebook.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "submission.csv").read_bytes() == (tmp_path / "blend.csv").read_bytes()
    assert len(set(pd.read_csv(tmp_path / "submission.csv")["label"])) > 1


@pytest.mark.long
def test_seeds_and_a_model_of_all_clips_are_bundled_as_the_ensemble_counts_them(place, tmp_path):
    small = {"kind": "mfcc_cnn", "from_scratch": None, "freeze": "feature_encoder", "mfcc_cnn": {"channels": [4, 4]}}
    path = write_tiny_config(tmp_path / "seeds.yaml", place / "data", model=small, cv={"n": 2, "full_fit": True}, train={"epochs": 1})
    train(["--config", str(path), "--seeds", "3,5"])
    run = tmp_path / "outputs" / "seeds"
    named = [run, run / "seed_5" / "full_fit", runs_of(place)[1]]
    blend_runs(named, tmp_path / "blend.csv", "gmean")
    main([*map(str, named), "--method", "gmean", "--output", str(tmp_path / "bundle"), "--estimate", "0"])
    content = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert [len(models) for member in content["members"] for models in member["runs"].values()] == [2, 2, 2, 1]
    output = tmp_path / "submission.csv"
    predict(["--data", str(place / "data"), "--output", str(output)], tmp_path / "bundle", time.perf_counter())
    assert output.read_bytes() == (tmp_path / "blend.csv").read_bytes()
    with pytest.raises(UserError, match="weighted learns from out-of-fold predictions"):
        main([*map(str, named), "--method", "weighted", "--output", str(tmp_path / "refused"), "--estimate", "0"])
    assert not (tmp_path / "refused").exists()


def test_a_run_of_one_model_is_bundled_where_that_is_allowed(place, tmp_path, capsys):
    clips = pd.read_csv(place / "data" / "train.csv")
    held_out = clips.assign(fold=np.where(np.arange(len(clips)) % 4 == 0, 0, ALWAYS_TRAINED))[["id", "fold"]]
    held_out.to_csv(tmp_path / "split.csv", index=False)
    cv = {"n": 1, "file": str(tmp_path / "split.csv")}
    train(["--config", str(write_tiny_config(tmp_path / "one.yaml", place / "data", model=TINY_CNN, cv=cv, train={"epochs": 1}))])
    assert "the one model epoch   1/1" in (told := capsys.readouterr().out) and "of 1 epoch" not in told
    run, bundle = tmp_path / "outputs" / "one", tmp_path / "bundle"
    with pytest.raises(UserError, match=r"allow_missing_folds of `ser\.ensemble` and `ser\.bundle` takes it"):
        main([str(run), "--output", str(bundle)])
    main([str(run), "--output", str(bundle), "--allow_missing_folds", "--estimate", "0"])
    assert (
        f"out of fold: accuracy {read_run(run, allow_missing_folds=True).metrics[0]['scores']['accuracy']:.3f}" in capsys.readouterr().out
    )
    predict(["--data", str(place / "data"), "--output", str(tmp_path / "submission.csv")], bundle, time.perf_counter())
    blend_runs([run], tmp_path / "blend.csv", allow_missing_folds=True)
    assert (tmp_path / "submission.csv").read_bytes() == (tmp_path / "blend.csv").read_bytes()


def test_an_encoder_that_all_folds_share_is_there_once(place):
    content = json.loads((place / "moved" / "bundle.json").read_text())
    encoders = {content["models"][f"1_frozen/fold_{fold}"]["model.safetensors"] for fold in (0, 1)}
    assert len(encoders) == 1
    heads = {content["models"][f"1_frozen/fold_{fold}"]["head.safetensors"] for fold in (0, 1)}
    assert len(heads) == 2
    assert sorted(content["files"]) == sorted(
        str(path.relative_to(place / "moved")) for path in [*(place / "moved" / "files").iterdir(), place / "moved" / "oof.safetensors"]
    )


def estimate_of(bundle: Path, data: Path, clips: int, output: Path) -> dict:
    predict(["--data", str(data), "--estimate", str(clips), "--output", str(output)], bundle, time.perf_counter())
    return json.loads(output.read_text())


def test_the_estimate_counts_what_grows_with_the_clips(place, tmp_path):
    estimate = estimate_of(place / "moved", place / "data", 5, tmp_path / "estimate.json")
    assert (estimate["clips"], estimate["models"], estimate["all_clips"]) == (5, 4, 12)
    assert estimate["ids"] == ["TEST_0000", "TEST_0002", "TEST_0005", "TEST_0008", "TEST_0011"]
    assert estimate["all_seconds"] == pytest.approx(estimate["fixed_seconds"] + 12 * estimate["seconds_per_clip"])
    assert told(10.0, 0.5, 100, 2.0) == "20 s and 1.000 s a clip; 100 clips take at most about 2.0 minutes"


def test_probabilities_have_the_digits_that_a_csv_keeps(place):
    run = read_run(runs_of(place)[0])
    assert np.array_equal(as_written(run.test), as_written(as_written(run.test)))
    values = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    table = pd.DataFrame(values).to_csv(index=False, header=False, float_format="%.9g")
    again = np.array([[float(cell) for cell in line.split(",")] for line in table.split()])
    assert np.array_equal(as_written(values), again) and not np.array_equal(values, again)


def test_a_bundle_that_was_cut_in_copying_says_which_file(place, tmp_path):
    shutil.copytree(place / "moved", tmp_path / "cut")
    file = max((tmp_path / "cut" / "files").iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(file, 100)
    with pytest.raises(UserError, match=file.name):
        predict(["--data", str(place / "data"), "--output", str(tmp_path / "x.csv")], tmp_path / "cut", time.perf_counter())
    assert not (tmp_path / "x.csv").exists()


def test_a_bundle_of_other_clips_than_the_runs_predicted_is_noticed(place, tmp_path, capsys):
    members, content = read_members(runs_of(place)), json.loads((place / "moved" / "bundle.json").read_text())
    compare(estimate_of(place / "moved", place / "data", 12, tmp_path / "same.json"), content, members)
    assert "12 of 12 sampled clips get the runs' label" in capsys.readouterr().out
    other = tmp_path / "other"
    shutil.copytree(place / "data", other)
    (other / "test" / "TEST_0001.wav").rename(other / "aside.wav")  # each clip under the name of the one before
    for number in (*range(2, 12), None):
        source = other / "aside.wav" if number is None else other / "test" / f"TEST_{number:04d}.wav"
        source.rename(other / "test" / f"TEST_{(number or 12) - 1:04d}.wav")
    with pytest.raises(UserError, match="predicts other labels than its runs"):
        compare(estimate_of(place / "moved", other, 12, tmp_path / "other.json"), content, members)


def test_a_bundle_computes_in_what_its_networks_trained_in_and_says_where_that_cannot_be(place, monkeypatch):
    content = json.loads((place / "moved" / "bundle.json").read_text())
    models = [model for member in content["members"] for run in member["runs"].values() for model in run]
    assert [model["trained_in"] for model in models] == ["fp32", "fp32", None, None] and _of_other_precision(content, 1, 12, 0.01) == ""
    models[0]["trained_in"] = "bf16"
    for computes, expected in ((True, ""), (False, "trained in bf16")):
        monkeypatch.setattr("ser.runtime.device.cpu_has_bf16", lambda computes=computes: computes)
        assert precision_as_trained("auto", "bf16") == ("bf16" if computes else "auto")
        for other, clips in ((1, 12), (12, 240)):
            said = _of_other_precision(content, other, clips, 0.01)
            assert expected in said and bool(expected) == bool(said)
        for other, clips, most in ((2, 12, 0.01), (13, 240, 0.01), (1, 12, 0.2)):  # more than close calls
            assert _of_other_precision(content, other, clips, most) == ""
    assert (
        precision_as_trained("fp32", "bf16") == "fp32"
        and precision_as_trained("auto", "fp32") == "fp32"
        and precision_as_trained("auto", None) == "auto"
    )


def test_a_folder_that_holds_something_else_is_left_alone(place, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        main([str(runs_of(place)[0]), "--output", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_wheels_are_pinned_to_what_is_installed_and_to_the_requirements(place):
    pins, alone = pinned([ModelConfig(kind="classical", classical=ClassicalConfig(features=["librosa"]))])
    assert not alone and {f"numpy=={version('numpy')}", f"scipy=={version('scipy')}"} <= set(pins)
    assert any(pin.startswith("docstring-parser==") for pin in pins)  # by the extra jsonargparse[signatures]
    wanted = [line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    assert set(NEEDED) <= set(wanted)
    listed = (place / "moved" / "wheels.txt").read_text().split()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-zA-Z.]*", line) for line in listed)
    assert not {"wandb", "jupyter", "matplotlib"} & {line.split("==")[0] for line in listed}


@pytest.mark.slow
def test_a_fresh_environment_of_the_wheels_alone_predicts_without_network(place, tmp_path):
    """Needs the package index (or a mirror of it) to fetch the wheels, and minutes."""
    bundle = tmp_path / "bundle"
    main([*map(str, runs_of(place)), "--method", "stack", "--output", str(bundle), "--estimate", "5", "--clips", "1000"])
    readme = (bundle / "README.md").read_text()
    assert "1000 clips take at most about" in readme and "(from 5 clips)" in readme
    fetch, install = (next(line.split() for line in readme.splitlines() if f"pip {word} " in line) for word in ("download", "install"))
    subprocess.run([sys.executable, *fetch[1:]], cwd=bundle, check=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([*ALONE, python, *install[1:]], cwd=bundle, env=environment, check=True)
    words = [bundle / "predict.py", "--data", place / "data", "--output", tmp_path / "submission.csv"]
    subprocess.run([*ALONE, python, *words], cwd=tmp_path, env=environment, check=True)
    blend_runs(runs_of(place), tmp_path / "blend.csv", "stack")
    assert (tmp_path / "submission.csv").read_bytes() == (tmp_path / "blend.csv").read_bytes()
