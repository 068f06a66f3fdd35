"""Evaluation: labels matched, scores as scikit-learn's, training clips noticed, every file of the report."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from checkpoints import make_classifier
from ser import predict
from ser.evaluate import __main__ as evaluate
from ser.evaluate.evaluation import match_labels
from ser.inference import prediction
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from sounds import tone, write_wav
from tiny import make_tiny_data, write_tiny_config

MODEL = ("neutral", "angry", "happy", "sad", "serious", "fear")


def test_equal_labels_are_matched_by_name_not_by_position():
    matched = match_labels(("sad", "angry"), ("angry", "sad"), {})
    assert matched.names == ("angry", "sad") and matched.changes == {}
    np.testing.assert_array_equal(np.array([[0.9, 0.1]]) @ matched.matrix, [[0.1, 0.9]])


def test_what_the_model_lacks_counts_as_the_registry_says_and_its_other_answers_stay_wrong_ones():
    matched = match_labels(MODEL, ("angry", "neutral", "calm", "anxious"), {})
    assert matched.names == ("angry", "neutral", "fear", "happy", "sad", "serious")
    assert matched.changes == {"calm": "neutral", "anxious": "fear"}
    answer = np.array([[0.3, 0.1, 0.1, 0.1, 0.25, 0.15]])
    np.testing.assert_allclose(answer @ matched.matrix, [[0.1, 0.3, 0.15, 0.1, 0.1, 0.25]])
    asked = match_labels(MODEL, ("angry", "neutral"), {"serious": "neutral"})
    np.testing.assert_allclose(answer @ asked.matrix, [[0.1, 0.55, 0.1, 0.1, 0.15]])
    assert asked.names == ("angry", "neutral", "happy", "sad", "fear")


def test_a_label_without_counterpart_is_an_error_that_a_mapping_mends():
    with pytest.raises(UserError, match=r"no label for disgust.*--mapping disgust="):
        match_labels(MODEL, ("angry", "disgust"), {})
    assert match_labels(MODEL, ("angry", "disgust"), {"혐오": "분노"}).changes["disgust"] == "angry"
    matched = match_labels(("LABEL_0", "LABEL_1"), ("sad", "angry"), {"LABEL_0": "angry", "LABEL_1": "sad"})
    np.testing.assert_array_equal(np.array([[0.9, 0.1]]) @ matched.matrix, [[0.1, 0.9]])
    with pytest.raises(UserError, match="joy_of_life"):
        match_labels(MODEL, ("angry",), {"joy_of_life": "happy"})


@pytest.mark.parametrize("text", ["a", "a=b=c", "=b", "a=,b=c"])
def test_a_mapping_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="--mapping"):
        evaluate.read_mapping(text)


@pytest.fixture(scope="module")
def emotions(tmp_path_factory):
    """Eighteen clips of three emotions in folders of English and Korean names, one of them no audio."""
    root = tmp_path_factory.mktemp("emotions")
    for number, name in enumerate(("Angry", "슬픔", "Calm")):
        (root / name).mkdir()
        for clip in range(6):
            write_wav(root / name / "x.wav" if clip == 0 else root / name / f"{clip}.wav", tone(0.6, hz=150 + 60 * clip + 9 * number))
    (root / "Angry" / "5.wav").write_text("no audio")
    return root


def test_the_command_writes_scores_tables_and_pictures(emotions, tmp_path, capsys):
    model = make_classifier(tmp_path / "model", "wav2vec2-layer", ("happy", "sad", "angry", "neutral"), seed=3)
    output = tmp_path / "report"
    evaluate.main(["--model", str(model), "--data.root", str(emotions), "--output", str(output), "--data.cache", str(tmp_path / "cache")])
    told = capsys.readouterr().out
    names = {
        "report.html",
        "report.md",
        "report.json",
        "confusion.png",
        "classes.png",
        "reliability.png",
        "predictions.csv",
        "mistakes.csv",
    }
    assert {path.name for path in output.iterdir()} == names
    report, predictions = read_json(output / "report.json"), pd.read_csv(output / "predictions.csv")
    scores = report["scores"]
    assert scores["n"] == len(predictions) == 17
    assert report["unusable"] == [{"id": "Angry/5.wav", "status": "undecodable", "path": str(emotions / "Angry" / "5.wav")}]
    assert report["mapping"] == {"calm": "neutral"} and "calm as neutral" in told
    assert "labels of the data by another name: 슬픔 as sad\n" in told
    assert {"Angry/x.wav", "슬픔/x.wav", "Calm/x.wav"} <= set(predictions["id"])
    true, predicted = predictions["label"], predictions["predicted"]
    assert scores["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    present = sorted(set(true))
    assert scores["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0))
    assert scores["uar"] == pytest.approx(recall_score(true, predicted, labels=present, average="macro", zero_division=0))
    mistakes = pd.read_csv(output / "mistakes.csv")
    assert len(mistakes) == (true != predicted).sum() > 0
    assert mistakes["confidence"].is_monotonic_decreasing
    assert set(mistakes["path"]) == set(predictions["path"][true != predicted])
    assert np.sum(report["confusion"]["counts"]) == 17
    assert "95 % interval" in (output / "report.md").read_text() and "majority" in told


def test_in_views_the_scores_are_those_that_predict_gives_and_stand_beside_the_clips_as_they_are(emotions, tmp_path, capsys, monkeypatch):
    model, cache = make_classifier(tmp_path / "model", "wav2vec2-layer", ("happy", "sad", "angry", "neutral"), seed=3), tmp_path / "cache"
    asked = ["--predict.views", "speed:0.7,shift:0.3", "--data.cache", str(cache)]
    passes = []
    once = prediction.predict_probabilities
    monkeypatch.setattr(prediction, "predict_probabilities", lambda *given: (passes.append(given), once(*given))[1])
    evaluate.main(["--model", str(model), "--data.root", str(emotions), "--output", str(tmp_path / "seen"), *asked])
    assert len(passes) == 3, "the clips as they are, and two views"
    told = capsys.readouterr().out
    evaluate.main(["--model", str(model), "--data.root", str(emotions), "--output", str(tmp_path / "plain"), "--data.cache", str(cache)])
    predict.main(["--model", str(model), str(emotions), "--output", str(tmp_path / "views.csv"), *asked])
    seen, plain, predicted = (pd.read_csv(tmp_path / name) for name in ("seen/predictions.csv", "plain/predictions.csv", "views.csv"))
    columns = [name for name in predicted if name.startswith("p_")]
    by_path = predicted.dropna(subset="label").assign(path=lambda rows: rows["path"].map(str)).set_index("path")
    np.testing.assert_allclose(seen[columns], by_path.loc[seen["path"], columns], rtol=1e-6)
    report, as_it_is = read_json(tmp_path / "seen" / "report.json"), read_json(tmp_path / "plain" / "report.json")
    assert report["views"]["views"] == ["speed:0.7", "shift:0.3"] and as_it_is["views"] is None
    assert report["views"]["difference"] == pytest.approx(report["scores"]["accuracy"] - as_it_is["scores"]["accuracy"])
    assert report["views"]["log_loss"] == pytest.approx(report["scores"]["log_loss"] - as_it_is["scores"]["log_loss"])
    assert report["views"]["log_loss"] != 0 and not np.allclose(seen[columns], plain[columns], atol=1e-4)
    assert "the views speed:0.7, shift:0.3 against the clips as they are alone" in told
    assert "the views speed:0.7" in (tmp_path / "seen" / "report.md").read_text()


def test_clips_of_the_training_data_are_noticed(tmp_path, capsys):
    data = make_tiny_data(tmp_path / "demo", clips=24, test_clips=6)
    config = write_tiny_config(tmp_path / "tiny.yaml", data, train={"epochs": 1, "batch_size": 8})
    train.main(["--config", str(config)])
    run = tmp_path / "outputs" / "tiny"
    for model, seen in ((run, 24), (run / "fold_0", 12), (run / "fold_0" / "model", 12)):
        capsys.readouterr()
        evaluate.main(
            ["--model", str(model), "--data.root", str(data), "--output", str(tmp_path / "r"), "--data.cache", str(tmp_path / "cache")]
        )
        assert f"{seen} of 24 clips were in this model's training data" in capsys.readouterr().out
