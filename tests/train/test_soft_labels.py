"""Soft labels: the loss aims at the votes, clips without a majority are trained on and not scored."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from ser.config import TrainConfig
from ser.inference.runs import read_fold, read_run
from ser.runtime.files import read_json
from ser.train import __main__ as train
from ser.train.loop import Trainer
from ser.train.objective import Objective
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = ("angry", "fear", "sad", "disgust", "neutral", "happy")
UNCLEAR = ("TRAIN_0003", "TRAIN_0010")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Demo clips of which five raters heard each; two clips are tied."""
    folder = make_tiny_data(tmp_path_factory.mktemp("input") / "demo", 24, 6)
    table = pd.read_csv(folder / "train.csv")
    votes = np.eye(6, dtype=int)[table["label"]] * 4
    votes[np.arange(len(table)), (table["label"] + 1) % 6] += 1
    tied = table["id"].isin(UNCLEAR).to_numpy()
    votes[tied] = [2, 2, 0, 0, 1, 0]
    table = table.drop(columns="label").assign(**{f"votes_{name}": votes[:, place] for place, name in enumerate(NAMES)})
    table.to_csv(folder / "train.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The run, and the targets that its loss was given, by clip."""
    folder, aims = tmp_path_factory.mktemp("run"), {}
    forward, loss_sum = Trainer._forward, Objective.loss_sum

    def noting(trainer, rows, batch, seed):
        trainer.objective.rows = rows
        return forward(trainer, rows, batch, seed)

    def noted(objective, logits, targets):
        aims.update(zip(objective.rows.tolist(), targets.tolist(), strict=True))
        return loss_sum(objective, logits, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_forward", noting)
        patch.setattr(Objective, "loss_sum", noted)
        train.main(["--config", str(write_tiny_config(folder / "tiny.yaml", data, model=TINY_CNN, train={"epochs": 1}))])
    return folder / "outputs" / "tiny", aims


def test_the_loss_aims_at_the_votes_of_every_clip(trained, data):
    _, aims = trained
    votes = pd.read_csv(data / "train.csv")[[f"votes_{name}" for name in NAMES]].to_numpy()
    assert sorted(aims) == list(range(24))
    np.testing.assert_allclose([aims[row] for row in range(24)], votes / 5, atol=1e-6)


def test_clips_without_a_majority_are_predicted_and_in_no_score(trained):
    run, _ = trained
    metrics = [read_json(run / f"fold_{fold}" / "metrics.json") for fold in (0, 1)]
    assert sum(fold["valid_clips"] for fold in metrics) == 24 and sum(fold["scores"]["n"] for fold in metrics) == 22
    read, report = read_run(run), read_json(run / "report.json")
    assert sorted(read.unclear) == sorted(UNCLEAR) and len(read.ids) == report["oof"]["n"] == 22
    predicted = pd.concat([pd.read_csv(run / f"fold_{fold}" / "valid.csv") for fold in (0, 1)]).set_index("id")
    assert len(predicted) == 24 and sum(len(read_fold(run / f"fold_{fold}")[0]) for fold in (0, 1)) == 22
    right = predicted.loc[list(read.ids)].to_numpy().argmax(1) == read.labels
    assert report["oof"]["accuracy"] == pytest.approx(right.mean())


def test_the_report_tells_the_cross_entropy_to_the_votes_of_all_clips(trained, data):
    run, _ = trained
    told = read_json(run / "report.json")["votes"]
    table = pd.read_csv(data / "train.csv").set_index("id")
    predicted = pd.concat([pd.read_csv(run / f"fold_{fold}" / "valid.csv") for fold in (0, 1)]).set_index("id")
    shares = table.loc[predicted.index, [f"votes_{name}" for name in NAMES]].to_numpy() / 5
    assert told["n"] == 24 and told["unclear"] == 2
    assert told["cross_entropy"] == pytest.approx(-(shares * np.log(predicted.to_numpy())).sum(1).mean(), rel=1e-6)
    assert "annotators' votes" in (run / "report.md").read_text()


def test_smoothing_and_class_weights_act_on_shares_as_on_labels():
    config = TrainConfig(label_smoothing=0.2, class_weights="balanced")
    objective = Objective(np.array([0, 0, 0, 1, 2]), 3, config, torch.device("cpu"))
    logits, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    hard = objective.loss_sum(logits, objective.targets(labels))
    torch.testing.assert_close(hard, objective.loss_sum(logits, objective.targets(torch.eye(3)[labels])))
    half = objective.targets(torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(half, objective.targets(torch.tensor([0, 1])).mean(0, keepdim=True))


def test_a_model_fitted_in_one_go_learns_the_majorities_and_says_so(data, tmp_path, capsys):
    table = pd.read_csv(data / "train.csv")
    text = {row: f"{NAMES[row % 6]} words {row}" for row in range(len(table))}
    csv = tmp_path / "texts.csv"
    table.assign(text=[text[row] for row in range(len(table))]).drop(columns="path").to_csv(csv, index=False)
    ngrams = {"kind": "text_ngrams", "from_scratch": None, "freeze": "feature_encoder"}
    train.main(["--config", str(write_tiny_config(tmp_path / "words.yaml", csv, model=ngrams))])
    assert "a model fitted in one go learns majorities" in capsys.readouterr().out
    metrics = read_json(tmp_path / "outputs" / "words" / "fold_0" / "metrics.json")
    assert metrics["scores"]["n"] <= metrics["valid_clips"] and "majorities" in metrics["caveats"][-1]
    shutil.rmtree(tmp_path / "outputs")
