"""Controls: what must give chance gives chance, and a clip's features and prediction are its own.

The experiments this project is compared with passed features through a fresh random layer for every batch of a file sorted by class,
which marks the label. Such a leak can't pass here: neither the order of the rows nor the neighbours in a batch may matter.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from checkpoints import LABELS, make_checkpoint
from ser.config import ClassicalConfig, DataConfig, LogmelCrnnConfig, MfccCnnConfig, MfccLstmDeltaConfig, ModelConfig, load_config
from ser.data.batches import PreparedClips, load_batches
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.data.tables import read_dataset
from ser.inference.forward import predict_probabilities
from ser.models.encoder.frozen_outputs import FrozenHead, cached_outputs, outputs_folder
from ser.models.registry import build_model
from ser.runtime.device import make_accelerator
from ser.runtime.files import read_json
from ser.train import __main__ as train
from tiny import TINY_WAV2VEC2, make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {
    "encoder": {"from_scratch": TINY_WAV2VEC2, "freeze": "none"},
    "mfcc_cnn": {"mfcc_cnn": {"channels": [8, 16]}},
    "logmel_crnn": {"logmel_crnn": {"channels": [4, 4], "hidden": 4}},
    "mfcc_lstm_delta": {"mfcc_lstm_delta": {"channels": 16, "hidden": 16}},
    "classical": {"classical": {"features": ["functionals"]}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=96, test_clips=6)


def trained(folder, data, kind, *words, **train_section):
    """The folder of a small run."""
    folder.mkdir(exist_ok=True)
    model = {"from_scratch": None, "freeze": "feature_encoder", "kind": kind} | SMALL[kind]
    path = write_tiny_config(folder / "small.yaml", data, model=model, train={"batch_size": 8, "head_learning_rate": 1e-2} | train_section)
    train.main(["--config", str(path), *words])
    return Path(load_config(path).run.output)


def score(run):
    return read_json(run / "report.json")["oof"]


def copy_with_rows(data, folder, change):
    """The same data set with another train.csv; the clips are shared."""
    shutil.copytree(data, folder)
    rows = pd.read_csv(folder / "train.csv")
    change(rows).to_csv(folder / "train.csv", index=False)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mfcc_cnn", pytest.param("classical", marks=pytest.mark.slow)])
def test_shuffled_labels_give_chance_and_true_ones_do_not(data, tmp_path, kind):
    few = {"epochs": 7, "metric": "loss"}
    true = score(trained(tmp_path / "true", data, kind, **few))

    def shuffled(rows):
        return rows.assign(label=np.random.default_rng(0).permutation(rows["label"]))

    chance = score(trained(tmp_path / "chance", copy_with_rows(data, tmp_path / "shuffled", shuffled), kind, **few))
    error = np.sqrt(chance["majority"] * (1 - chance["majority"]) / chance["n"])
    assert chance["accuracy"] < chance["majority"] + 3 * error
    assert true["accuracy"] > chance["majority"] + 6 * error, "the control would pass on a model that learns nothing"


@pytest.mark.parametrize(
    "kind", ["encoder", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mfcc_cnn", "mfcc_lstm_delta", "classical"))]
)
def test_the_order_of_the_rows_does_not_matter(data, tmp_path, kind):
    """Sorted by class, as the faulty experiments had it, against mixed: the same folds and the same predictions."""
    by_class = copy_with_rows(data, tmp_path / "sorted", lambda rows: rows.sort_values(["label", "id"], ascending=False))
    runs = [trained(tmp_path / place.name, place, kind, "--folds", "0", epochs=1) for place in (data, by_class)]
    folds, valid = (
        [pd.read_csv(run / name, dtype={"id": str}).set_index("id") for run in runs] for name in ("folds.csv", "fold_0/valid.csv")
    )
    assert folds[0]["fold"].equals(folds[1].loc[folds[0].index, "fold"])
    mixed, sorted_rows = valid[0], valid[1].loc[valid[0].index]
    columns = [f"p_{name}" for name in LABELS]
    np.testing.assert_allclose(sorted_rows[columns], mixed[columns], atol=1e-5)
    assert mixed[columns].std().max() > 1e-3, "the test would pass on a model that answers the same to all"


@pytest.fixture(scope="module")
def store(data, tmp_path_factory):
    paths = read_dataset(DataConfig(root=str(data))).train.paths[:24]
    return Store.of_clips(ClipStore.open(paths, DataConfig(cache=str(tmp_path_factory.mktemp("cache")))))


def networks(folder, store):
    """(name, network, store it reads): one of each kind that is trained in batches."""
    checkpoint = make_checkpoint(folder / "checkpoint", "wav2vec2-layer")
    frozen = build_model(ModelConfig(name=str(checkpoint), freeze="encoder", layer_weights=True), LABELS, 4.0)
    accelerator = make_accelerator("fp32")
    outputs = cached_outputs(frozen, store, np.arange(len(store)), outputs_folder(frozen, folder, accelerator), accelerator)
    yield "frozen encoder", FrozenHead(frozen), outputs
    for config in (
        ModelConfig(name=str(checkpoint)),
        ModelConfig(name=str(make_checkpoint(folder / "group", "wav2vec2-group"))),
        ModelConfig(kind="mfcc_cnn", mfcc_cnn=MfccCnnConfig(channels=[4, 8])),
        ModelConfig(kind="logmel_crnn", logmel_crnn=LogmelCrnnConfig(channels=[4, 4], hidden=4)),
        ModelConfig(kind="mfcc_lstm_delta", mfcc_lstm_delta=MfccLstmDeltaConfig(channels=8, hidden=8)),
    ):
        model = build_model(config, LABELS, 4.0)
        model.fit_statistics((store[row] for row in range(len(store))), np.full(len(store), LABELS.index("neutral")))
        yield f"{config.kind} {config.name}", model, store


def test_features_and_predictions_depend_on_no_neighbour(store, tmp_path):
    """Fault 10: a clip's features must not change with the order of the rows, the batch or the worker that made them."""
    rows = np.arange(len(store))
    order = np.random.default_rng(1).permutation(rows)
    for name, model, clips in networks(tmp_path, store):
        alone = {row: model.frontend.prepare(clips[row]) for row in rows.tolist()}
        batches = [order[start : start + 5].tolist() for start in range(0, len(order), 5)]
        prepared = PreparedClips(clips, model.frontend)
        for made, batch in load_batches(_Features(prepared), batches, 2):
            for row, features in zip(made.tolist(), batch, strict=True):
                assert np.array_equal(features, alone[row]), name
        accelerator = make_accelerator("fp32")
        one_by_one = predict_probabilities(model, clips, rows, 1, accelerator)
        together = predict_probabilities(model, clips, order, 7, accelerator)
        np.testing.assert_allclose(together, one_by_one[order], atol=1e-6, err_msg=name)
        assert np.abs(one_by_one - one_by_one[0]).max() > 1e-5, name


class _Features(PreparedClips):
    """Batches as lists of what the frontend prepared."""

    def __init__(self, clips):
        super().__init__(clips.store, clips.frontend)

    def collate(self, items):
        rows, inputs = zip(*items, strict=True)
        return np.asarray(rows), list(inputs)


def test_classical_features_depend_on_no_neighbour(store, tmp_path):
    """The same for the models fitted in one go: predictions of a shuffled table are the shuffled predictions."""
    rows, labels = np.arange(len(store)), np.arange(len(store)) % 6
    model = build_model(ModelConfig(kind="classical", classical=ClassicalConfig(features=["functionals"])), LABELS, 4.0)
    model.fit(store, rows, labels, 0)
    order = np.random.default_rng(1).permutation(rows)
    together = model.predict(store, rows)
    np.testing.assert_allclose(model.predict(store, order), together[order], atol=1e-6)
    np.testing.assert_allclose(model.predict(store, order[:1]), together[order[:1]], atol=1e-6)
