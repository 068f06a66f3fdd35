"""Models of texts, and of audio and text, are evaluated and calibrated as models of audio are."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from ser import calibrate, predict
from ser.config import load_config
from ser.evaluate import __main__ as evaluate
from ser.runtime.files import read_json, write_csv
from ser.scoring.calibration import fit_temperature, scaled
from ser.train import training
from texts import make_texts

SECTIONS = {"cv": {"n": 2}, "tracking": {"mode": "disabled"}, "train": {"epochs": 3, "batch_size": 16, "head_learning_rate": 3e-3}}
FUSION = {"kind": "fusion", "fusion": {"text": "ngrams", "ngram_size": 8}}


def clips_of(texts, folder):
    """The texts, each said by a beep."""
    table = pd.read_csv(texts)
    rng = np.random.default_rng(0)
    for name in table["id"]:
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(3200), 16_000)
    write_csv(folder / "clips.csv", table.assign(path=table["id"] + ".wav"))
    return folder / "clips.csv"


def trained(folder, root, model):
    content = SECTIONS | {
        "data": {"root": str(root), "cache": str(folder / "cache")},
        "model": model,
        "run": {"output": str(folder / "run")},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    training.train(load_config(folder / "config.yaml"))
    return folder / "run"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A run of texts, and labelled texts that it hasn't seen, in another order of labels."""
    folder = tmp_path_factory.mktemp("texts")
    run = trained(folder, make_texts(folder / "in", texts=72, test_texts=6), {"kind": "text_ngrams"})
    new = make_texts(folder / "new", texts=66, test_texts=6, seed=7) / "train.csv"
    write_csv(new, pd.read_csv(new).assign(id=[f"N{row:03d}" for row in range(66)]))
    return run, new, folder


@pytest.fixture(scope="module")
def fusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fusion")
    (folder / "in").mkdir()
    texts = make_texts(folder / "texts", texts=24, test_texts=6) / "train.csv"
    data = clips_of(texts, folder / "in")
    return trained(folder, data, FUSION), data, folder


@pytest.mark.long
@pytest.mark.parametrize(("kind", "columns"), [("texts", ["text"]), ("fusion", ["path", "text"])])
def test_a_model_that_reads_is_evaluated_as_it_predicts(kind, columns, request, tmp_path, capsys):
    run, new, folder = request.getfixturevalue(kind)
    words = ["--data.root", str(new), "--data.cache", str(folder / "cache")]
    evaluate.main(["--model", str(run), *words, "--output", str(tmp_path / "report")])
    told = capsys.readouterr().out
    predict.main(["--model", str(run), str(new), "--data.cache", str(folder / "cache"), "--output", str(tmp_path / "p.csv")])
    truth, predicted, report = pd.read_csv(new), pd.read_csv(tmp_path / "p.csv"), read_json(tmp_path / "report" / "report.json")
    assert report["scores"]["accuracy"] == pytest.approx((truth["label"] == predicted["label"]).mean())
    assert report["scores"]["n"] == len(truth)
    table = pd.read_csv(tmp_path / "report" / "predictions.csv")
    assert list(table.columns[: 2 + len(columns)]) == ["id", *columns, "label"]
    assert table["text"].tolist() == truth["text"].tolist()
    mistakes = pd.read_csv(tmp_path / "report" / "mistakes.csv")
    assert mistakes["text"].isin(truth["text"]).all() and len(mistakes) == (table["label"] != table["predicted"]).sum() > 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert mistakes["text"][0] in page
    assert ("24 of 24 clips were in this model's training data" in told) == (kind == "fusion")


def test_the_mean_of_folds_of_texts_is_calibrated_on_labelled_texts(texts, tmp_path, capsys):
    run, new, _ = texts

    def served():
        predict.main(["--model", str(run), str(new), "--output", str(tmp_path / "p.csv")])
        return pd.read_csv(tmp_path / "p.csv").filter(like="p_")

    plain = served()
    names = [name.removeprefix("p_") for name in plain.columns]
    labels = pd.read_csv(new)["label"].map(names.index).to_numpy()
    calibrate.main([str(run), "--data.root", str(new)])
    assert "n 66" in capsys.readouterr().out
    found = read_json(run / "calibration.json")
    assert found["mean"]["n"] == 66
    wanted = fit_temperature(labels, plain.to_numpy()) if found["mean"]["gains"] else 1.0
    assert found["temperature_of_the_mean"] == pytest.approx(wanted, rel=1e-3)
    np.testing.assert_allclose(served(), scaled(plain.to_numpy(), found["temperature_of_the_mean"]), atol=1e-6)
    (run / "calibration.json").unlink()
