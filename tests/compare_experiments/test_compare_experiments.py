"""Experiments side by side: the same clips and folds for all, and numbers that can be counted again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from runs import make_run
from ser.compare_experiments import __main__ as compare_experiments
from ser.compare_experiments import running
from ser.compare_experiments.experiments import read_experiment, speaker_gaps
from ser.compare_experiments.report import write_comparison
from ser.runtime.errors import UserError
from ser.runtime.files import write_csv
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=36, test_clips=6)


def config_of(folder, data, name, model):
    encoder = {"from_scratch": None, "freeze": "feature_encoder"}
    return write_tiny_config(
        folder / f"{name}.yaml", data, model=encoder | model, train={"epochs": 2, "head_learning_rate": 1e-3}, run={"output": None}
    )


def in_this_process(file, options):
    train.main(["--config", str(file), *options])


@pytest.fixture(scope="module")
def arguments(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    configs = [
        config_of(folder, data, "cnn", {"kind": "mfcc_cnn", "mfcc_cnn": {"channels": [4]}}),
        config_of(folder, data, "kernel", {"kind": "classical", "classical": {"features": ["functionals"]}}),
    ]
    return [*map(str, configs), "--output", str(folder / "out")]


@pytest.fixture(scope="module")
def output(arguments):
    with pytest.MonkeyPatch.context() as patch:  # four starts of Python less; the test with a signal has a process of its own
        patch.setattr(running, "_train_in_own_process", in_this_process)
        compare_experiments.main(arguments)
    return Path(arguments[-1])


def test_everything_is_written_for_every_experiment_and_split(output):
    assert {"comparison.md", "comparison.csv", "comparison.png", "histories.png"} <= {path.name for path in output.iterdir()}
    text = (output / "comparison.md").read_text()
    for name in ("cnn", "kernel"):
        for split in ("speaker", "stratified"):
            for file in ("report.json", "confusion.png", "fold_1/history.png", "fold_0/model/ser_model.json"):
                assert (output / name / split / file).exists()
            assert f"({name}/{split}/confusion.png)" in text


@pytest.mark.parametrize("split", ["speaker", "stratified"])
def test_experiments_have_the_same_folds_and_their_scores_are_scikit_learns(output, data, split):
    table = pd.read_csv(output / "comparison.csv").set_index(["split", "experiment"])
    accuracy = {}
    for name in ("cnn", "kernel"):
        oof = pd.read_csv(output / name / split / "oof.csv").merge(pd.read_csv(data / "train.csv")[["id", "label"]], on="id")
        assert oof["fold"].tolist() == pd.read_csv(output / "cnn" / split / "folds.csv")["fold"].tolist()
        predicted = oof.filter(like="p_").to_numpy().argmax(1)
        row = table.loc[split, name]
        accuracy[name] = (predicted == oof["label_y"]).mean()
        assert row["accuracy"] == pytest.approx(accuracy[name])
        assert row["macro_f1"] == pytest.approx(f1_score(oof["label_y"], predicted, average="macro", labels=range(6), zero_division=0))
        assert row["uar"] == pytest.approx(balanced_accuracy_score(oof["label_y"], predicted))
        assert row["majority"] == pytest.approx(oof["label_y"].value_counts(normalize=True).max())
        assert row["n"] == 36
    assert table.loc[split, "kernel"]["points_difference"] == pytest.approx(100 * (accuracy["kernel"] - accuracy["cnn"]))
    assert np.isnan(table.loc[split, "cnn"]["points_difference"])


def test_speakers_are_apart_in_one_split_and_not_in_the_other(output, data):
    speakers = pd.read_csv(data / "train_speakers.csv")
    folds_of_speaker = {
        split: pd.read_csv(output / "cnn" / split / "folds.csv").merge(speakers, on="id").groupby("speaker")["fold"].nunique()
        for split in ("speaker", "stratified")
    }
    assert (folds_of_speaker["speaker"] == 1).all()
    assert (folds_of_speaker["stratified"] > 1).any()


def test_costs_are_measured(output):
    table = pd.read_csv(output / "comparison.csv")
    for column in ("parameters", "trained_per_second", "predicted_per_second", "peak_memory_mb", "train_minutes"):
        assert (table[column] > 0).all()


def test_the_same_command_again_trains_nothing_and_changes_no_result(output, arguments, monkeypatch):
    before = {path: path.read_bytes() for path in output.rglob("*.csv") if path.name != "comparison.csv"}
    monkeypatch.setattr(running, "_train_in_own_process", lambda *_: pytest.fail("trained again"))
    compare_experiments.main(arguments)
    assert before == {path: path.read_bytes() for path in output.rglob("*.csv") if path.name != "comparison.csv"}


def test_another_setting_for_finished_runs_is_refused(output, arguments):
    with pytest.raises(UserError, match=r"train\.weight_decay: was"):
        compare_experiments.main([*arguments, "--train.weight_decay", "0.5"])


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["{a}"], "at least two"),
        ([], "at least two"),
        (["{a}", "nowhere.yaml"], "no such config"),
        (["{a}", "{a}"], "two configs are named a"),
        (["{a}", "{b}", "--run.output", "x"], "--run.output: the comparison sets it"),
        (["{a}", "{b}", "--config", "x"], "the comparison sets it"),
        (["{a}", "{b}", "--output"], "--output: given nothing"),
        (["{a}", "{b}", "--train.epohcs", "3"], "train.epochs"),
        (["{a}", "{b}", "--data.root", "nowhere"], "nowhere is not there"),
        (["{a}", "{one_model}"], "one_model.yaml: cv.n: given 1"),
    ],
)
def test_what_a_user_gets_wrong_is_one_message_before_any_training(tmp_path, monkeypatch, words, match):
    monkeypatch.setattr(running, "train_experiment", lambda *_: pytest.fail("training began"))
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("train: {epochs: 1}\n")
    (tmp_path / "one_model.yaml").write_text("cv: {n: 1, file: split.csv}\n")
    files = {path.stem: path for path in tmp_path.glob("*.yaml")}
    with pytest.raises(UserError, match=match):
        compare_experiments.main([word.format(**files) for word in words])


@pytest.mark.slow
def test_a_signal_reaches_the_training_and_the_command_can_be_repeated(data, tmp_path):
    configs = [config_of(tmp_path, data, name, {"kind": "mfcc_cnn"}) for name in ("one", "two")]
    command = [sys.executable, "-u", "-m", "ser.compare_experiments", *map(str, configs), "--output", str(tmp_path / "out")]
    source = str(Path(compare_experiments.__file__).parents[2])
    words = [*command, "--train.epochs", "5000"]
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": source}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "epoch   1/" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert time.monotonic() - started < 30
    assert any((tmp_path / "out" / "one" / "speaker" / "fold_0" / "checkpoints").glob("step_*"))


# The table by itself, on made-up runs


def fake(folder, name, skill, splits=("speaker", "stratified"), **keys):
    folders = {}
    for number, split in enumerate(splits):
        folders[split] = make_run(folder / name / split, seed=hash_of(name, split), skill=skill, speakers=6, fold_seed=number, **keys)
        for fold in range(3):
            timing = {"epoch": [1, 2], "train_seconds": [3.0, 3.0], "clips_per_second": [10.0, 20.0], "peak_memory_mb": [5.0, 7.0]}
            write_csv(folders[split] / f"fold_{fold}" / "timing.csv", pd.DataFrame(timing))
    return read_experiment(name, folders, 12.0)


def hash_of(name, split):
    return sum(map(ord, name + split))


def test_gap_between_known_and_new_voices_is_the_difference_of_the_two_runs(tmp_path):
    experiments = [fake(tmp_path, "weak", 1.0), fake(tmp_path, "strong", 3.0)]
    gaps = speaker_gaps(experiments).set_index("experiment")
    for experiment in experiments:
        right = {split: (run.oof.argmax(1) == run.labels).mean() for split, run in experiment.runs.items()}
        row = gaps.loc[experiment.name]
        assert row["gap_difference"] == pytest.approx(100 * (right["stratified"] - right["speaker"]))
        assert row["gap_low"] <= row["gap_difference"] <= row["gap_high"]


def test_costs_are_summed_and_taken_from_all_folds(tmp_path):
    table = write_comparison([fake(tmp_path, "weak", 1.0), fake(tmp_path, "strong", 3.0)], tmp_path)
    assert table["train_minutes"].tolist() == pytest.approx([18 / 60] * 4)
    assert table["trained_per_second"].tolist() == [15.0] * 4
    assert table["peak_memory_mb"].tolist() == [7.0] * 4


def test_a_clear_difference_has_an_interval_without_zero_and_none_has_one_with_it(tmp_path):
    table = write_comparison([fake(tmp_path, "weak", 0.5), fake(tmp_path, "strong", 4.0), fake(tmp_path, "weak2", 0.5)], tmp_path)
    rows = table[table["split"] == "speaker"].set_index("experiment")
    assert rows.loc["strong", "points_low"] > 0
    assert rows.loc["weak2", "points_low"] < 0 < rows.loc["weak2", "points_high"]


def test_one_split_alone_says_that_the_gap_is_unknown(tmp_path):
    experiments = [fake(tmp_path, name, 2.0, splits=("stratified",)) for name in ("a", "b")]
    write_comparison(experiments, tmp_path)
    assert "the gap between known and new voices can't be told" in (tmp_path / "comparison.md").read_text()


def test_runs_over_other_clips_or_folds_are_not_compared(tmp_path):
    first = fake(tmp_path, "a", 2.0, splits=("stratified",))
    with pytest.raises(UserError, match="different clips or folds"):
        write_comparison([first, fake(tmp_path, "b", 2.0, splits=("stratified",), clips=54)], tmp_path)


@pytest.mark.slow
def test_what_is_fitted_in_one_go_has_no_history_to_show(data, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_train_in_own_process", in_this_process)
    files = [tmp_path / f"{name}.yaml" for name in ("one", "two")]
    for file, classifier in zip(files, ("svm", "logistic"), strict=True):
        file.write_text(f"model: {{kind: classical, classical: {{features: [librosa], classifier: {classifier}}}}}\n")
    output = tmp_path / "comparison"
    options = ["--data.root", data, "--data.cache", tmp_path / "cache", "--cv.n", 2, "--cv.split", "stratified"]
    options += ["--tracking.mode", "disabled"]
    compare_experiments.main([str(word) for word in (*files, "--output", output, *options)])
    text = (output / "comparison.md").read_text()
    assert "Histories" not in text and "epoch" not in text
    assert not (output / "histories.png").exists()
