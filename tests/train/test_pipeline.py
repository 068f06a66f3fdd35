"""The whole way on demo data: every artefact of the data contracts, from one run of the real commands."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import accuracy_score, f1_score

from ser import predict
from ser.data.utterance import Utterance
from ser.ensemble import __main__ as ensemble
from ser.models.registry import load_model
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

LABELS = ["angry", "fear", "sad", "disgust", "neutral", "happy"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run of two folds, with augmentation on."""
    folder = tmp_path_factory.mktemp("run")
    config = write_tiny_config(
        folder / "tiny.yaml", data, augment={"gain": {"p": 0.5}}, train={"epochs": 2, "batch_size": 4, "accumulation": 2}
    )
    train.main(["--config", str(config)])
    return folder / "outputs" / "tiny"


@pytest.fixture(scope="module")
def submission(run, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("submissions") / "tiny.csv"
    ensemble.main([str(run), "--output", str(path)])
    return path


def test_run_folder_holds_every_file_of_the_contract(run):
    assert {"config.yaml", "folds.csv", "data.json", "oof.csv", "report.md", "report.json", "confusion.png"} <= {
        p.name for p in run.iterdir()
    }
    for fold in (0, 1):
        names = {path.name for path in (run / f"fold_{fold}").iterdir()}
        assert {"model", "valid.csv", "test.csv", "history.csv", "timing.csv", "metrics.json", "history.png", "confusion.png"} <= names
        assert "checkpoints" not in names


def test_folds_are_a_partition_and_speakers_stay_together(run, data):
    folds = pd.read_csv(run / "folds.csv")
    assert folds["id"].tolist() == pd.read_csv(data / "train.csv")["id"].tolist()
    speakers = folds.merge(pd.read_csv(data / "train_speakers.csv"), on="id")
    assert (speakers.groupby("speaker")["fold"].nunique() == 1).all()
    assert set(folds["fold"]) == {0, 1}


@pytest.mark.parametrize("fold", [0, 1])
def test_probabilities_are_in_label_order_and_table_order(run, data, fold):
    folds = pd.read_csv(run / "folds.csv")
    valid, test = (pd.read_csv(run / f"fold_{fold}" / name) for name in ("valid.csv", "test.csv"))
    for table in (valid, test):
        assert list(table.columns) == ["id", *(f"p_{name}" for name in LABELS)]
        np.testing.assert_allclose(table.iloc[:, 1:].sum(axis=1), 1, atol=1e-7)
    assert valid["id"].tolist() == folds.loc[folds["fold"] == fold, "id"].tolist()
    assert test["id"].tolist() == pd.read_csv(data / "test.csv")["id"].tolist()


def test_oof_scores_equal_scikit_learn_on_the_written_files(run, data):
    oof = pd.read_csv(run / "oof.csv").merge(pd.read_csv(data / "train.csv")[["id", "label"]], on="id", suffixes=("", "_true"))
    assert (oof["label"] == oof["label_true"]).all()
    predicted = oof[[f"p_{name}" for name in LABELS]].to_numpy().argmax(axis=1)
    report = read_json(run / "report.json")["oof"]
    assert report["accuracy"] == pytest.approx(accuracy_score(oof["label"], predicted))
    assert report["macro_f1"] == pytest.approx(f1_score(oof["label"], predicted, average="macro", labels=range(6), zero_division=0))
    assert report["n"] == len(oof) == 48


def test_history_has_a_row_per_epoch_and_metrics_name_the_best(run):
    history = pd.read_csv(run / "fold_0" / "history.csv")
    metrics = read_json(run / "fold_0" / "metrics.json")
    assert history["epoch"].tolist() == [1, 2]
    assert {"train_loss", "valid_loss", "valid_accuracy", "valid_macro_f1", "valid_uar", "encoder_lr", "head_lr"} <= set(history.columns)
    assert metrics["scores"]["accuracy"] == pytest.approx(history["valid_accuracy"].max())
    assert metrics["label_names"] == LABELS


def test_saved_model_loads_in_transformers_pipeline_with_the_same_answer(run, data):
    from transformers import pipeline

    from ser.audio import decode, to_float

    classify = pipeline("audio-classification", model=str(run / "fold_0" / "model"))
    test = pd.read_csv(run / "fold_0" / "test.csv")
    wave = to_float(decode(data / "test" / "TEST_0000.wav").samples)
    answer = {item["label"]: item["score"] for item in classify({"raw": wave, "sampling_rate": 16_000}, top_k=6)}
    for name in LABELS:
        assert answer[name] == pytest.approx(test.loc[0, f"p_{name}"], abs=1e-5)


def test_best_epoch_is_a_copy_not_a_reference(run):
    """Fault 2: the weights in model/ are those whose validation scores metrics.json reports."""
    valid = pd.read_csv(run / "fold_1" / "valid.csv").iloc[:, 1:].to_numpy()
    labels = pd.read_csv(run / "oof.csv").set_index("id").loc[pd.read_csv(run / "fold_1" / "valid.csv")["id"], "label"]
    history = pd.read_csv(run / "fold_1" / "history.csv").set_index("epoch")
    best = read_json(run / "fold_1" / "metrics.json")["epoch"]
    assert (valid.argmax(1) == labels).mean() == pytest.approx(history.loc[best, "valid_accuracy"])


def test_predict_equals_what_training_wrote(run, data, tmp_path):
    """Fault 14: a predict script whose preprocessing differs from training's."""
    predict.main(
        ["--model", str(run), str(data / "test.csv"), "--data.cache", str(tmp_path / "cache"), "--output", str(tmp_path / "p.csv")]
    )
    predicted = pd.read_csv(tmp_path / "p.csv")
    mean = sum(pd.read_csv(run / f"fold_{k}" / "test.csv").iloc[:, 1:].to_numpy() for k in (0, 1)) / 2
    np.testing.assert_allclose(predicted[[f"p_{name}" for name in LABELS]].to_numpy(), mean, atol=1e-6)
    assert predicted["id"].tolist() == pd.read_csv(data / "test.csv")["id"].tolist()


def test_submission_has_the_samples_form(submission, data, run):
    sample, made = pd.read_csv(data / "sample_submission.csv"), pd.read_csv(submission)
    assert list(made.columns) == ["id", "label"]
    assert made["id"].tolist() == sample["id"].tolist()
    assert made["label"].between(0, 5).all()
    record = json.loads(submission.with_suffix(".json").read_text())
    truth = pd.read_csv(data / "test_labels.csv")
    assert record["test"]["accuracy"] == pytest.approx(accuracy_score(truth["label"], made["label"]))
    assert record["oof"]["n"] == 48
    assert record["data_fingerprint"] == read_json(run / "data.json")["fingerprint"]


def test_each_fold_starts_from_fresh_weights_that_depend_on_its_number_only(run, data, tmp_path):
    """Fault 3: one model carried through all folds. Fold 1 trained alone is fold 1 trained after fold 0."""
    config = write_tiny_config(
        tmp_path / "alone.yaml", data, augment={"gain": {"p": 0.5}}, train={"epochs": 2, "batch_size": 4, "accumulation": 2}
    )
    train.main(["--config", str(config), "--folds", "1"])
    alone = tmp_path / "outputs" / "alone"
    for name in ("valid.csv", "test.csv", "history.csv"):
        assert (alone / "fold_1" / name).read_bytes() == (run / "fold_1" / name).read_bytes()
    assert not (alone / "report.md").exists()


def test_a_second_run_skips_finished_folds_and_changes_nothing(run, data, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*.csv")}
    train.main(["--config", str(run.parents[1] / "tiny.yaml")])
    assert capsys.readouterr().out.count("finished before, skipped") == 2
    assert before == {path: path.read_bytes() for path in run.rglob("*.csv")}


def test_another_config_in_the_same_folder_is_refused_by_name(run):
    with pytest.raises(UserError, match=r"train\.epochs: was 2, now 3"):
        train.main(["--config", str(run.parents[1] / "tiny.yaml"), "--train.epochs", "3"])


def test_a_key_that_was_not_there_when_the_run_began_counts_as_its_default(run, tmp_path, capsys):
    older = shutil.copytree(run, tmp_path / "older")
    config = yaml.safe_load((older / "config.yaml").read_text())
    assert config["train"].pop("average") is None and config["data"].pop("multi_label") is False
    (older / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", str(run.parents[1] / "tiny.yaml"), "--run.output", str(older)]
    with pytest.raises(UserError, match=r"train\.average: was null, now 2"):
        train.main([*words, "--train.average", "2"])
    train.main(words)
    assert capsys.readouterr().out.count("finished before, skipped") == 2


def test_head_has_exactly_one_output_per_label(run):
    """Fault 4: a head with more outputs than labels."""
    model = load_model(run / "fold_0" / "model")
    assert list(model.label_names) == LABELS
    assert model.frontend is not None
    import torch

    assert model(**model.frontend.collate([model.frontend.prepare(Utterance(np.zeros(16_000, np.float32)))])).shape == torch.Size([1, 6])


@pytest.mark.parametrize("text", ["5", "-1", "a", "0,9", ""])
def test_folds_that_do_not_exist_are_refused(run, text):
    with pytest.raises(UserError, match="--folds"):
        train.main(["--config", str(run.parents[1] / "tiny.yaml"), "--folds", text])
