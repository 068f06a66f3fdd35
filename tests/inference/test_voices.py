"""A clip carries its voice to every prediction: what was said in training of a speaker's clips is said of them afterwards, too."""

import numpy as np
import pandas as pd
import pytest
import yaml

from ser.config import DataConfig
from ser.data.tables import read_dataset
from ser.evaluate import __main__ as evaluate
from ser.korean import ModelEvaluator, create_inference_engine
from ser.runtime.files import read_json
from ser.train import __main__ as train
from tiny import make_tiny_data

pytestmark = pytest.mark.usefixtures("undrawn")

KNOWN = {"kind": "classical", "classical": {"features": ["functionals"], "speaker_normalization": "known"}}
DELTA = {"kind": "mfcc_lstm_delta", "mfcc_lstm_delta": {"baseline": "speaker", "channels": 8, "hidden": 8}}


@pytest.fixture(scope="module", params=[KNOWN, DELTA], ids=["known speakers", "speaker baselines"])
def fold(request, tmp_path_factory):
    """A trained fold whose validation clips are of speakers it knows; few speakers, so that each has clips enough to count."""
    place = tmp_path_factory.mktemp("voices")
    data = make_tiny_data(place / "data", clips=56, test_clips=2)
    names = pd.read_csv(data / "train_speakers.csv")
    names["speaker"] = [f"s{row % 2}" for row in range(len(names))]
    names.to_csv(data / "train_speakers.csv", index=False)
    sections = {
        "data": {"root": str(data), "cache": str(place / "cache")},
        "model": request.param,
        "train": {"epochs": 2},
        "cv": {"n": 2, "split": "stratified"},
        "tracking": {"mode": "disabled"},
        "run": {"output": str(place / "run")},
    }
    (place / "run.yaml").write_text(yaml.safe_dump(sections))
    train.main(["--config", str(place / "run.yaml"), "--folds", "0"])
    table, valid = pd.read_csv(data / "train.csv"), pd.read_csv(place / "run" / "fold_0" / "valid.csv").set_index("id")
    part = table[table["id"].isin(valid.index)]
    part.to_csv(data / "valid.csv", index=False)
    names[names["id"].isin(valid.index)].to_csv(data / "valid_speakers.csv", index=False)
    return place / "run" / "fold_0", data, valid.loc[part["id"]]


def without_speakers(data):
    """The validation clips where no speakers lie beside them."""
    other = data.parent / "elsewhere"
    other.mkdir(exist_ok=True)
    table = pd.read_csv(data / "valid.csv")
    table["path"] = [str(data / path) for path in table["path"]]
    table.to_csv(other / "valid.csv", index=False)
    return other / "valid.csv"


def test_evaluate_with_speakers_scores_a_fold_as_training_did(fold, tmp_path, capsys):
    model, data, valid = fold
    options = ["--data.cache", str(tmp_path / "cache"), "--data.allow_absolute_paths", "true", "--output", str(tmp_path / "report")]
    words = ["--model", str(model), "--data.root", str(without_speakers(data)), *options]
    evaluate.main([*words, "--data.speakers", str(data / "valid_speakers.csv")])
    report, predicted = read_json(tmp_path / "report" / "report.json"), pd.read_csv(tmp_path / "report" / "predictions.csv").set_index("id")
    scores = read_json(model / "metrics.json")["scores"]
    assert report["scores"]["accuracy"] == scores["accuracy"]
    assert report["scores"]["log_loss"] == pytest.approx(scores["log_loss"], abs=1e-6)
    np.testing.assert_allclose(predicted.loc[valid.index, valid.columns].to_numpy(), valid.to_numpy(), atol=1e-6)
    capsys.readouterr()
    evaluate.main(words)
    assert "who speaks" in "".join(capsys.readouterr())
    assert read_json(tmp_path / "report" / "report.json")["scores"]["log_loss"] != pytest.approx(scores["log_loss"], abs=1e-3)


def test_the_library_takes_speakers(fold, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, data, valid = fold
    clips = read_dataset(DataConfig(root=str(data / "valid.csv"), speakers=str(data / "valid_speakers.csv")))
    paths, speakers = list(clips.train.paths), list(clips.train.speakers)
    found = create_inference_engine(model).predict_batch(paths, speakers=speakers)
    np.testing.assert_allclose([list(one["probabilities"].values()) for one in found], valid.to_numpy(), atol=1e-6)
    labels = [clips.label_names[label] for label in clips.train.labels]
    result = ModelEvaluator(model, tmp_path / "report").evaluate_dataset(paths, labels, speakers=speakers)
    assert result["log_loss"] == pytest.approx(read_json(model / "metrics.json")["scores"]["log_loss"], abs=1e-6)
