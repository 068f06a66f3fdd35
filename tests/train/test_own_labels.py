"""A data set whose labels the registry doesn't know goes the whole way from train.csv to the submission."""

import pandas as pd
import pytest
import yaml

from ser.config import DataConfig
from ser.data.tables import read_dataset
from ser.ensemble import __main__ as ensemble
from ser.evaluate.evaluation import evaluate
from ser.inference.prediction import predict_files
from ser.runtime.files import read_json
from ser.train import __main__ as train
from tiny import make_tiny_data

NAMES = ["Sleepy", "Amused", "positive", "W", "Joy", "행복"]  # the last two are one emotion to the registry, and two here


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    data = make_tiny_data(folder / "data")
    for name in ("train.csv", "test_labels.csv", "sample_submission.csv"):
        table = pd.read_csv(data / name)
        table.assign(label=[NAMES[label] for label in table["label"]]).to_csv(data / name, index=False)
    config = {
        "data": {"root": str(data), "cache": str(folder / "cache"), "labels": "own"},
        "cv": {"n": 2},
        "model": {"kind": "classical", "classical": {"features": ["functionals"]}},
        "tracking": {"mode": "disabled"},
        "run": {"output": str(folder / "run")},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    train.main(["--config", str(folder / "own.yaml")])
    return folder


def test_the_submission_and_its_score_have_the_names_as_they_stand(folder):
    assert read_json(folder / "run" / "data.json")["label_names"] == sorted(NAMES)
    ensemble.main([str(folder / "run"), "--output", str(folder / "own.csv")])
    submission = pd.read_csv(folder / "own.csv")
    assert set(submission["label"]) <= set(NAMES)
    truth = pd.read_csv(folder / "data" / "test_labels.csv")
    accuracy = (submission["label"] == truth["label"]).mean()
    assert read_json(folder / "own.json")["test"]["accuracy"] == pytest.approx(accuracy)


def test_prediction_and_evaluation_know_them_too(folder):
    data = DataConfig(root=str(folder / "data"), cache=str(folder / "cache"), labels="own")
    dataset = read_dataset(data)
    table = predict_files(folder / "run", dataset.test.paths[:3], data)
    assert [name for name in table if name.startswith("p_")] == [f"p_{name}" for name in sorted(NAMES)]
    found = evaluate(folder / "run", dataset, data)
    assert found.label_names == tuple(sorted(NAMES)) and found.result["n"] == len(dataset.train)
