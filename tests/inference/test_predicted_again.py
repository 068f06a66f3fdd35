"""Test-time augmentation: the mean over views, on new clips and on a run's own."""

import shutil

import numpy as np
import pandas as pd
import pytest

from ser import predict
from ser.data.inputs import Store
from ser.data.views import read_views, view_of
from ser.inference.forward import predict_probabilities
from ser.inference.prediction import predict_views
from ser.inference.runs import read_run
from ser.inference.views import mean_over_views
from ser.models.registry import load_model
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_json
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

VIEWS = "speed:0.9,gain:-6"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", 24, 6)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small = {"kind": "mfcc_cnn", "from_scratch": None, "freeze": "feature_encoder", "mfcc_cnn": {"channels": [4, 4]}}
    train.main(["--config", str(write_tiny_config(folder / "tiny.yaml", data, model=small, train={"epochs": 1}))])
    return folder / "outputs" / "tiny"


def columns(path):
    table = pd.read_csv(path)
    return table[[name for name in table if name.startswith("p_")]].to_numpy()


def test_a_clip_gets_the_geometric_mean_of_its_views(run, data):
    network, accelerator = load_model(run / "fold_0" / "model"), make_accelerator("fp32")
    rng = np.random.default_rng(0)
    store, rows = Store.of_samples([rng.integers(-3000, 3000, n).astype(np.int16) for n in (9000, 20_000, 15_000)]), np.array([2, 0])
    views = read_views(VIEWS)
    stores = [store, *(view_of(store, view, network.max_seconds) for view in views)]
    each = np.stack([predict_probabilities(network, seen, rows, 2, accelerator) for seen in stores])
    expected = np.exp(np.log(each).mean(axis=0))
    found, plain = predict_views(network, store, rows, views, 2, accelerator)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_array_equal(predict_views(network, store, rows, [], 2, accelerator)[0], each[0])
    np.testing.assert_array_equal(plain, each[0])


@pytest.mark.parametrize("compares", [False, True])
def test_crops_count_for_long_clips_alone(compares):
    store = Store.of_samples([np.full(n, 100, np.int16) for n in (16_000, 40_000)])
    asked = []

    def predicted(seen, rows, view):
        asked.append((view, rows.tolist(), seen.frames.tolist()))
        return np.tile([0.9, 0.1] if not view else [0.1, 0.9], (len(rows), 1))

    found = mean_over_views(predicted, store, np.arange(2), read_views("crops:2"), 1.0, compares)[0]
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.5, 0.5]])
    assert asked == [("", [0, 1], [16_000, 16_000]), ("crops:1", [0, 1] if compares else [1], [16_000, 16_000])]


def test_a_run_is_predicted_again_by_the_folds_that_have_not_seen_the_clips(run, data, tmp_path, capsys):
    again = tmp_path / "views"
    words = ["--model", str(run), "--predict.views", VIEWS, "--output", str(again)]
    predict.main(words)
    told = capsys.readouterr().out
    assert "paired" in told and f"made {again}" in told
    before, after = read_run(run), read_run(again)
    assert after.ids == before.ids and np.array_equal(after.fold_of, before.fold_of) and not np.array_equal(after.oof, before.oof)
    for fold in (0, 1):
        assert not (again / f"fold_{fold}" / "model").exists()
        one = tmp_path / f"{fold}.csv"
        predict.main(["--model", str(run / f"fold_{fold}"), str(data / "test.csv"), "--predict.views", VIEWS, "--output", str(one)])
        np.testing.assert_allclose(columns(one), columns(again / f"fold_{fold}" / "test.csv"), rtol=1e-6)
    assert "3 views" in (again / "report.md").read_text()
    # Killed between two folds, the same command makes the rest, and the same of it.
    kept = (again / "fold_1" / "valid.csv").read_bytes()
    (again / "fold_1" / "metrics.json").unlink()
    (again / "fold_1" / "valid.csv").unlink()
    predict.main(words)
    assert (again / "fold_1" / "valid.csv").read_bytes() == kept
    with pytest.raises(UserError, match="other views"):
        predict.main([*words[:3], "gain:3", *words[4:]])


def test_views_of_a_run_that_was_trained_anew_are_not_gone_on_with(run, tmp_path):
    own, moved = tmp_path / "own", tmp_path / "moved"
    shutil.copytree(run, own)
    words = ["--predict.views", "gain:-3,gain:3", "--output", str(tmp_path / "views"), "--model"]
    predict.main([*words, str(own)])
    own.rename(moved)
    predict.main(["--predict.views", "gain:3,gain:-3", *words[2:], str(moved)])  # elsewhere, and in another order: the same
    metrics = moved / "fold_1" / "metrics.json"
    write_json(metrics, read_json(metrics) | {"train_accuracy": 0.123})
    with pytest.raises(UserError, match="before it was trained anew"):
        predict.main([*words, str(moved)])


def test_a_run_is_not_predicted_again_on_other_clips_or_without_views(run, data, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    first, second = sorted((other / "train").glob("*.wav"))[:2]
    shutil.copy(first, second)
    with pytest.raises(UserError, match="doesn't hold the clips"):
        predict.main(["--model", str(run), "--predict.views", "gain:3", "--output", str(tmp_path / "x"), "--data.root", str(other)])
    for words in (["--output", str(tmp_path / "y")], ["--predict.views", "gain:3"]):
        with pytest.raises(UserError, match="PATH: given nothing to predict"):
            predict.main(["--model", str(run), *words])
    assert read_json(run / "fold_0" / "metrics.json").get("caveats") is None
