"""Classical models: the real commands on demo data, and the classifier chain on matrices."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser import predict
from ser.config import ClassicalConfig, DataConfig
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.ensemble.blend import blend_runs
from ser.features.speakers import POOLED
from ser.make_demo.folder import make_demo
from ser.models.classical.classifiers import classifier_scores, fit_classifier, fit_sharpness, softmax
from ser.models.classical.clip_features import ClipFeatures
from ser.models.classical.speaker_classifier import FeatureMatrices, SpeakerClassifier
from ser.models.registry import load_model
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from tiny import TINY_WAV2VEC2

LABELS = ["angry", "fear", "sad", "disgust", "neutral", "happy"]
CLASSIFIERS = ("kernel_ridge", "svm", "svm_rbf", "logistic")


def write_config(path, data, **classical):
    content = {
        "data": {"root": str(data), "cache": str(data.parent / "cache")},
        "cv": {"n": 2},
        "model": {"kind": "classical", "classical": classical},
        "tracking": {"mode": "disabled"},
        "run": {"output": str(path.parent / "outputs" / path.stem)},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("input") / "demo"
    make_demo(folder, 120, 24, 0)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run with everything the best config has."""
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "found.yaml", data, features=["functionals", "aligned"], speaker_normalization="found")
    train.main(["--config", str(config)])
    return folder / "outputs" / "found"


def test_run_has_the_files_of_the_contract_and_says_what_it_used(run, data):
    for fold in (0, 1):
        names = {path.name for path in (run / f"fold_{fold}").iterdir()}
        assert {"model", "valid.csv", "test.csv", "history.csv", "timing.csv", "metrics.json", "history.png", "confusion.png"} <= names
        metrics = read_json(run / f"fold_{fold}" / "metrics.json")
        assert "transductive" in metrics["caveats"][0]
        assert "same text" in metrics["caveats"][1]
        assert pd.read_csv(run / f"fold_{fold}" / "history.csv")["epoch"].tolist() == [1]
        speakers = pd.read_csv(run / "folds.csv").query(f"fold == {fold}").merge(pd.read_csv(data / "train_speakers.csv"), on="id")
        assert f"of {len(speakers)} clips given to" in metrics["voices"] and "adjusted Rand index" in metrics["voices"]
    report = (run / "report.md").read_text()
    assert "transductive" in report
    assert f"Voices of the validation clips: fold 0: {read_json(run / 'fold_0' / 'metrics.json')['voices']}; fold 1: " in report
    assert "epoch of a fold was chosen" not in report


def test_a_blend_says_of_its_members_what_their_own_reports_say(run, tmp_path):
    record = blend_runs([run], tmp_path / "blend.csv")
    assert any(str(run) in warning and "transductive" in warning for warning in record["warnings"])


def test_it_learns_the_demo_voices(run):
    assert read_json(run / "report.json")["oof"]["accuracy"] > 0.5


def test_predict_equals_what_training_wrote(run, data, tmp_path):
    """Fault 14. The same clips together give the same voices, and so the same probabilities."""
    predict.main(["--model", str(run), str(data / "test.csv"), "--data.cache", str(tmp_path), "--output", str(tmp_path / "p.csv")])
    predicted = pd.read_csv(tmp_path / "p.csv")
    mean = sum(pd.read_csv(run / f"fold_{k}" / "test.csv").iloc[:, 1:].to_numpy() for k in (0, 1)) / 2
    np.testing.assert_allclose(predicted[[f"p_{name}" for name in LABELS]].to_numpy(), mean, atol=1e-6)


def test_predict_says_which_voices_it_found_and_takes_a_single_file(run, data, tmp_path, capsys):
    predict.main(["--model", str(run / "fold_0"), str(data / "test" / "TEST_0000.wav"), "--data.cache", str(tmp_path)])
    output = capsys.readouterr()
    assert "found without labels" in output.out + output.err
    assert "predicted 1 of 1" in output.out


def test_labels_of_validation_clips_are_never_seen(run, data, tmp_path):
    """Neither by the classifier, nor by the temperature, nor in finding speakers."""
    copy = tmp_path / "demo"
    shutil.copytree(data, copy)
    table, folds = pd.read_csv(copy / "train.csv"), pd.read_csv(run / "folds.csv")
    held_out = (folds["fold"] == 0).to_numpy()
    table.loc[held_out, "label"] = np.roll(table.loc[held_out, "label"].to_numpy(), 1)
    table.to_csv(copy / "train.csv", index=False)
    speakers = pd.read_csv(copy / "train_speakers.csv")
    speakers.loc[speakers["id"].isin(folds["id"][held_out]), "speaker"] = "somebody"
    speakers.to_csv(copy / "train_speakers.csv", index=False)
    options = ["--data.root", str(copy), "--cv.file", str(run / "folds.csv"), "--run.output", str(tmp_path / "out"), "--folds", "0"]
    train.main(["--config", str(run.parents[1] / "found.yaml"), *options])
    for name in ("valid.csv", "test.csv"):
        assert (tmp_path / "out" / "fold_0" / name).read_bytes() == (run / "fold_0" / name).read_bytes()


def test_shuffled_training_labels_give_chance(data, tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(data, copy)
    table = pd.read_csv(copy / "train.csv")
    table["label"] = np.random.default_rng(0).permutation(table["label"])
    table.to_csv(copy / "train.csv", index=False)
    config = write_config(tmp_path / "shuffled.yaml", copy, features=["functionals", "aligned"], speaker_normalization="found")
    train.main(["--config", str(config), "--data.cache", str(data.parent / "cache"), "--cv.split", "stratified"])
    oof = read_json(tmp_path / "outputs" / "shuffled" / "report.json")["oof"]
    assert oof["accuracy"] < oof["majority"] + 3 * np.sqrt(oof["majority"] * (1 - oof["majority"]) / oof["n"])


def test_the_order_of_the_rows_does_not_matter(run, data, tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(data, copy)
    table = pd.read_csv(copy / "train.csv")
    table.iloc[::-1].to_csv(copy / "train.csv", index=False)
    options = ["--data.root", str(copy), "--run.output", str(tmp_path / "out"), "--folds", "1"]
    train.main(["--config", str(run.parents[1] / "found.yaml"), *options])
    ours, theirs = (pd.read_csv(folder / "fold_1" / "valid.csv").sort_values("id") for folder in (tmp_path / "out", run))
    assert ours["id"].tolist() == theirs["id"].tolist()
    np.testing.assert_allclose(ours.iloc[:, 1:].to_numpy(), theirs.iloc[:, 1:].to_numpy(), atol=1e-6)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_saved_model_gives_the_same_probabilities(classifier, run, data, tmp_path):
    """Written and read without pickle, for every classifier."""
    store = Store.of_clips(ClipStore.open(sorted((data / "test").glob("*.wav")), DataConfig(cache=str(data.parent / "cache"))))
    if classifier == "kernel_ridge":
        folder, rows = run / "fold_0" / "model", np.arange(len(store))
        model = load_model(folder)
        model.save(tmp_path / "model")
    else:
        config = write_config(tmp_path / "c.yaml", data, features=["functionals"], classifier=classifier, speaker_normalization="known")
        train.main(["--config", str(config), "--folds", "0"])
        folder, rows = tmp_path / "outputs" / "c" / "fold_0" / "model", np.arange(len(store))
        model = load_model(folder)
        model.save(tmp_path / "model")
    written = pd.read_csv(folder.parent / "test.csv").iloc[:, 1:].to_numpy()
    for same in (model, load_model(tmp_path / "model")):
        np.testing.assert_allclose(same.predict(store, rows), written, atol=1e-7)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".skops"}


def test_damaged_or_outdated_model_is_told_in_one_message(run, tmp_path):
    shutil.copytree(run / "fold_0" / "model", tmp_path / "cut")
    (tmp_path / "cut" / "classifier.skops").write_bytes(b"PK not a zip")
    with pytest.raises(UserError, match="not a whole model"):
        load_model(tmp_path / "cut")
    shutil.copytree(run / "fold_0" / "model", tmp_path / "old")
    card = json.loads((tmp_path / "old" / "ser_model.json").read_text())
    (tmp_path / "old" / "ser_model.json").write_text(json.dumps(card | {"feature_versions": {"voice": 0}}))
    with pytest.raises(UserError, match="version 0"):
        load_model(tmp_path / "old")


@pytest.mark.parametrize("normalization", ["known", "found"])
def test_speakers_that_are_needed_and_unknown_are_told_before_anything_is_computed(normalization, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ClipFeatures, "read", None)
    copy = tmp_path / "demo"
    shutil.copytree(data, copy)
    (copy / "train_speakers.csv").unlink()
    config = write_config(tmp_path / "c.yaml", copy, features=["librosa"], speaker_normalization=normalization)
    with pytest.raises(UserError, match=r"--data\.speakers"):
        train.main(["--config", str(config), "--data.cache", str(data.parent / "cache")])


def spoken(speakers=8, clips=40, seed=0):
    """Features that a speaker moves more than an emotion does, voices, labels and speakers."""
    rng = np.random.default_rng(seed)
    owner, labels = np.repeat(np.arange(speakers), clips), rng.integers(0, 4, speakers * clips)
    emotions, manner = 0.3 * rng.normal(size=(4, 40)), 3 * rng.normal(size=(speakers, 40))
    features = emotions[labels] + manner[owner] + 0.8 * rng.normal(size=(len(owner), 40))
    voices = rng.normal(size=(speakers, 16))[owner] + 0.3 * rng.normal(size=(len(owner), 16))
    return FeatureMatrices([features], voices), labels, owner


def test_with_voices_found_in_training_a_clips_answer_depends_on_no_other():
    clips, labels, owner = spoken()
    seen = np.arange(len(labels)) % 4 > 0
    judged, config = clips.take(~seen), ClassicalConfig(speaker_normalization="found_in_training", voices="ge2e")
    chain, _ = SpeakerClassifier.fit(config, clips.take(seen), labels[seen], 4, None)
    voices = chain.voices(judged, None)
    found = voices != POOLED
    assert found.mean() > 0.6
    assert adjusted_rand_score(owner[~seen][found], voices[found]) > 0.9
    scores = chain.scores(judged, voices)
    assert (scores.argmax(1) == labels[~seen]).mean() > 0.8
    one_by_one = [judged.take(np.array([row])) for row in range(10)]
    alone = np.concatenate([chain.scores(clip, chain.voices(clip, None)) for clip in one_by_one])
    np.testing.assert_allclose(alone, scores[:10], atol=1e-5)


def test_clips_of_no_training_voice_are_judged_as_if_speakers_did_not_matter():
    clips, labels, owner = spoken()
    seen, judged = owner < 6, clips.take(owner >= 6)
    config = ClassicalConfig(speaker_normalization="found_in_training", voices="ge2e")
    chain, _ = SpeakerClassifier.fit(config, clips.take(seen), labels[seen], 4, None)
    plain, _ = SpeakerClassifier.fit(ClassicalConfig(), clips.take(seen), labels[seen], 4, None)
    voices = chain.voices(judged, None)
    alone = voices == POOLED
    assert alone.mean() > 0.9
    expected = plain.scores(judged, plain.voices(judged, None))
    np.testing.assert_allclose(chain.scores(judged, voices)[alone], expected[alone], atol=0.02)


def test_speakers_found_together_need_no_names():
    clips, labels, owner = spoken()
    seen = owner < 6
    config = ClassicalConfig(speaker_normalization="found", voices="ge2e")
    chain, _ = SpeakerClassifier.fit(config, clips.take(seen), labels[seen], 4, None)
    found = chain.voices(clips.take(~seen), None)
    assert adjusted_rand_score(owner[~seen], found) > 0.9


def test_a_run_on_an_encoder_predicts_what_training_wrote(data, tmp_path):
    """Fault 14, with the encoder's weights in the model's folder."""
    config = write_config(tmp_path / "encoder.yaml", data, features=["encoder", "librosa"], speaker_normalization="found")
    content = yaml.safe_load(config.read_text())
    content["model"]["from_scratch"] = TINY_WAV2VEC2
    config.write_text(yaml.safe_dump(content))
    train.main(["--config", str(config), "--data.cache", str(data.parent / "cache"), "--folds", "0"])
    fold = tmp_path / "outputs" / "encoder" / "fold_0"
    predict.main(["--model", str(fold), str(data / "test.csv"), "--data.cache", str(tmp_path), "--output", str(tmp_path / "p.csv")])
    written, predicted = pd.read_csv(fold / "test.csv"), pd.read_csv(tmp_path / "p.csv")
    np.testing.assert_allclose(predicted[[f"p_{name}" for name in LABELS]].to_numpy(), written.iloc[:, 1:].to_numpy(), atol=1e-5)


@pytest.mark.parametrize("features", [[], ["librosa", "librosa"], ["mfcc"]])
def test_impossible_features_are_refused(features, data, tmp_path):
    with pytest.raises(UserError, match="features"):
        train.main(["--config", str(write_config(tmp_path / "c.yaml", data, features=features))])


def matrices(n=150, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    first = rng.normal(size=(n, 30)) + 1.5 * np.eye(4)[labels] @ rng.normal(size=(4, 30))
    return [first * 7 + 2, rng.normal(size=(n, 10))], labels


def test_kernel_ridge_on_equally_weighed_blocks_equals_scikit_learn():
    blocks, labels = matrices()
    seen, unseen = (FeatureMatrices([block[part] for block in blocks]) for part in (slice(100), slice(100, None)))
    chain, on_train = SpeakerClassifier.fit(ClassicalConfig(features=["librosa"]), seen, labels[:100], 4, None)
    scalers = [StandardScaler().fit(block) for block in seen.blocks]
    pairs = [zip(scalers, part.blocks, strict=True) for part in (seen, unseen)]
    scaled = [np.hstack([scaler.transform(block) / np.sqrt(block.shape[1]) for scaler, block in pair]) for pair in pairs]
    reference = KernelRidge(kernel="rbf", gamma=0.125, alpha=0.07).fit(scaled[0], np.eye(4)[labels[:100]] - 0.25)
    np.testing.assert_allclose(on_train, reference.predict(scaled[0]), atol=1e-4)
    np.testing.assert_allclose(chain.scores(unseen, chain.voices(unseen, None)), reference.predict(scaled[1]), atol=1e-4)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_scores_have_a_column_per_label_even_for_two_classes_or_missing_ones(classifier):
    blocks, labels = matrices()
    config = ClassicalConfig(classifier=classifier)
    for wanted in ([0, 1, 2, 3], [1, 3], [0, 2, 3]):
        rows = np.isin(labels, wanted)
        fitted = fit_classifier(config, blocks[0][rows] / 50, labels[rows], 4, 1)
        scores = classifier_scores(fitted, blocks[0] / 50, 4)
        assert scores.shape == (150, 4)
        assert np.isin(scores[rows].argmax(axis=1), wanted).all()
        assert (scores[rows].argmax(axis=1) == labels[rows]).mean() > 0.6


def test_two_classes_of_an_svm_are_decided_as_scikit_learn_decides():
    blocks, labels = matrices()
    features, labels = blocks[0][labels < 2] / 50, labels[labels < 2]
    fitted = fit_classifier(ClassicalConfig(classifier="svm_rbf"), features, labels, 2, 1)
    reference = SVC(C=10.0, gamma=0.25).fit(features, labels)
    np.testing.assert_array_equal(classifier_scores(fitted, features, 2).argmax(axis=1), reference.predict(features))


def test_sharpness_has_the_least_log_loss():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    scores = rng.normal(0, 0.3, (500, 3)) + 0.2 * np.eye(3)[labels]
    best = fit_sharpness(scores, labels)
    losses = {power: sklearn_log_loss(labels, softmax(scores, power)) for power in (best, best * 0.9, best * 1.1)}
    assert min(losses, key=losses.get) == best
