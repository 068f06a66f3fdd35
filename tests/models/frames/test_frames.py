"""The networks trained from scratch on spectral features: padding, statistics, saving, training."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from soak import compare

from checkpoints import LABELS, logits, waves
from ser import predict
from ser.config import Config, MfccLstmDeltaConfig, ModelConfig, load_config
from ser.data.utterance import Utterance
from ser.models.frames.frames import MaskedBatchNorm, SpecAugment
from ser.models.frames.standards import standard_of
from ser.models.registry import build_model, load_model
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from ser.train.experiment import open_experiment
from ser.train.fold import train_fold
from ser.train.signals import Stopper
from stops import steps_are_counted, train_in_pieces  # noqa: F401 - a fixture
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

KINDS = ("mfcc_cnn", "logmel_crnn", "mfcc_lstm_delta")
NEUTRAL = LABELS.index("neutral")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def model_of(kind, seconds=4.0, **settings):
    """A network with some statistics and, after a few batches, running means that aren't zero and one."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(kind=kind, **settings), LABELS, seconds)
    clips = waves(0.9, 1.1, 1.3, 0.7, seed=5)
    model.fit_statistics([Utterance(clip, "", "a", "female") for clip in clips], np.full(len(clips), NEUTRAL))
    model.train()
    for _ in range(3):
        logits(model, clips)
    model.classifier.weight.data *= 20  # a new head whispers: differences can't hide under the tolerance
    return model.eval()


def test_a_batch_of_different_lengths_equals_one_by_one(kind):
    """Fault 10: neither lengths nor neighbours nor their order count."""
    model = model_of(kind)
    assert not model.exact_length
    clips = [clip * level for clip, level in zip(waves(0.4, 3.1, 1.7, 0.91), (1.0, 0.1, 3.0, 0.5), strict=True)]
    alone = torch.cat([logits(model, [clip]) for clip in clips])
    assert torch.allclose(logits(model, clips), alone, atol=1e-5)
    order = [2, 0, 3, 1]
    assert torch.allclose(logits(model, [clips[i] for i in order]), alone[order], atol=1e-5)
    assert (alone - alone[0]).abs().max() > 1e-3, "the test would pass on a model that ignores its input"


def test_a_clip_of_a_single_sample_is_predicted_not_a_crash(kind):
    model = model_of(kind)
    for samples in (0, 1, 300):
        assert torch.isfinite(logits(model, [np.zeros(samples, dtype=np.float32)])).all()
    assert torch.isfinite(logits(model, [np.zeros(1, dtype=np.float32), *waves(1.0)])).all()


def test_longer_clips_than_the_model_was_trained_for_are_cut(kind):
    model = model_of(kind, seconds=1.0)
    (clip,) = waves(2.0)
    assert torch.equal(logits(model, [clip]), logits(model, [clip[:16_000]]))


def test_saved_model_comes_back_bit_by_bit_with_its_statistics(kind, tmp_path):
    model = model_of(kind)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.label_names == LABELS
    assert torch.equal(logits(again, waves(0.6, 1.2)), logits(model, waves(0.6, 1.2)))
    assert torch.equal(logits(pickled(again), waves(0.6, 1.2)), logits(model, waves(0.6, 1.2)))


def pickled(model):
    """The frontend as a loader's worker gets it."""
    model.frontend = pickle.loads(pickle.dumps(model.frontend))  # noqa: S301
    return model


@pytest.mark.parametrize("damage", ["weights", "card"])
def test_a_damaged_folder_is_one_message(kind, tmp_path, damage):
    model_of(kind).save(tmp_path / "model")
    if damage == "weights":
        (tmp_path / "model" / "model.safetensors").write_bytes(b"nothing")
    else:
        card = tmp_path / "model" / "ser_model.json"
        card.write_text(card.read_text().replace('"settings"', '"sittings"'))
    with pytest.raises(UserError, match="no whole"):
        load_model(tmp_path / "model")


def test_everything_is_trained_with_the_heads_learning_rate(kind):
    groups = model_of(kind).parameter_groups()
    assert groups["encoder"] == []
    assert len(groups["head"]) == len(list(model_of(kind).parameters()))


def test_features_are_standardised_by_all_frames_of_the_training_part():
    model = build_model(ModelConfig(kind="logmel_crnn"), LABELS, 4.0)
    clips = waves(0.5, 2.0, 1.0)
    raw = np.concatenate([model.frontend.features(clip) for clip in clips])
    model.fit_statistics(map(Utterance, clips), np.array([0, 1, 2]))
    standard = model.frontend.standards.pooled
    np.testing.assert_allclose(standard.mean, raw.mean(0), rtol=1e-5)
    np.testing.assert_allclose(standard.deviation, raw.std(0), rtol=1e-4)
    prepared = np.concatenate([model.frontend.prepare(Utterance(clip)) for clip in clips])
    np.testing.assert_allclose(prepared.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(prepared.std(0), 1, atol=1e-4)


def test_a_constant_feature_is_not_blown_up():
    standard = standard_of([np.ones((5, 2), dtype=np.float32)])
    assert np.abs(standard.apply(np.full((1, 2), 1.001, dtype=np.float32))).max() <= 1.01


def test_batch_norm_counts_real_frames_only():
    torch.manual_seed(0)
    values, lengths = torch.randn(3, 4, 10, 2) * 3 + 1, [10, 4, 7]
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    norm, plain = MaskedBatchNorm(4).train(), torch.nn.BatchNorm2d(4).train()
    result = norm(values.masked_fill(~mask[:, None, :, None], 1000.0), mask)
    packed = torch.cat([clip[:, :length] for clip, length in zip(values, lengths, strict=True)], dim=1)
    expected = plain(packed[None])[0].split(lengths, dim=1)
    for row, length, clip in zip(result, lengths, expected, strict=True):
        torch.testing.assert_close(row[:, :length], clip)
        assert (row[:, length:] == 0).all()
    torch.testing.assert_close(norm.running_mean, plain.running_mean)


def test_spec_augment_hides_the_share_asked_for_within_each_clip_and_nothing_at_prediction():
    frames, lengths = torch.ones(400, 60, 40), torch.randint(20, 61, (400,), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(60) < lengths[:, None]
    layer = SpecAugment(0.2, 0.0)
    torch.manual_seed(3)
    hidden = (layer.train()(frames, mask) == 0).all(2)
    assert not (hidden & ~mask).any()
    share = (hidden.sum(1) / lengths).mean()
    assert 0.15 < share < 0.21  # two stretches of 0.1 on average, which may overlap
    torch.manual_seed(3)
    assert torch.equal((layer(frames, mask) == 0).all(2), hidden)
    assert torch.equal(layer.eval()(frames, mask), frames)
    bands = (SpecAugment(0.0, 0.25).train()(frames, mask) == 0).all(1)
    assert 0.18 < bands.float().mean() < 0.27


# The delta baseline


def delta(baseline="pooled"):
    return build_model(ModelConfig(kind="mfcc_lstm_delta", mfcc_lstm_delta=MfccLstmDeltaConfig(baseline=baseline)), LABELS, 4.0)


CLIPS = [clip * level for clip, level in zip(waves(1.0, 0.7, 2.0, 0.5, 1.5), (1.0, 0.5, 0.1, 2.0, 0.02), strict=True)]
CLIP_LABELS = np.array([NEUTRAL, NEUTRAL, 0, NEUTRAL, NEUTRAL])
VOICES = [("a", "female"), ("b", "female"), ("a", "female"), ("c", "male"), ("c", "male")]
UNKNOWN = (None, None)


def spoken(clip, voice):
    return Utterance(clip, "", *voice)


SPOKEN = [spoken(clip, voice) for clip, voice in zip(CLIPS, VOICES, strict=True)]


def baseline_of(rows):
    """Mean and deviation counted by hand: every real frame of the clips, each once."""
    frames = np.concatenate([delta().frontend.features(CLIPS[row]) for row in rows])
    return frames.mean(0), frames.std(0)


@pytest.mark.parametrize(
    ("baseline", "voice", "rows"),
    [
        ("pooled", VOICES[0], [0, 1, 3, 4]),
        ("gender", ("new", "female"), [0, 1]),
        ("gender", ("new", "male"), [3, 4]),
        ("gender", ("new", None), [0, 1, 3, 4]),
        ("speaker", ("a", "male"), [0]),
        ("speaker", VOICES[3], [3, 4]),
        ("speaker", ("new", "female"), [0, 1, 3, 4]),
        ("speaker", UNKNOWN, [0, 1, 3, 4]),
    ],
)
def test_network_sees_the_difference_to_the_neutral_clips_of_that_voice(baseline, voice, rows):
    model = delta(baseline)
    model.fit_statistics(SPOKEN, CLIP_LABELS)
    mean, deviation = baseline_of(rows)
    expected = (model.frontend.features(CLIPS[2]) - mean) / deviation
    np.testing.assert_allclose(model.frontend.prepare(spoken(CLIPS[2], voice)), expected, rtol=1e-3, atol=1e-3)


def test_a_speaker_without_neutral_clips_has_the_pooled_baseline():
    model, labels = delta("speaker"), CLIP_LABELS.copy()
    labels[3:] = 0
    model.fit_statistics(SPOKEN, labels)
    assert np.array_equal(model.frontend.prepare(spoken(CLIPS[2], VOICES[3])), model.frontend.prepare(spoken(CLIPS[2], UNKNOWN)))
    assert not np.array_equal(model.frontend.prepare(spoken(CLIPS[2], VOICES[0])), model.frontend.prepare(spoken(CLIPS[2], UNKNOWN)))


def test_baselines_are_saved_with_the_model(tmp_path):
    model = delta("speaker")
    model.fit_statistics(SPOKEN, CLIP_LABELS)
    model.eval().save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    for voice in (UNKNOWN, *VOICES):
        assert np.array_equal(again.frontend.prepare(spoken(CLIPS[2], voice)), model.frontend.prepare(spoken(CLIPS[2], voice)))


@pytest.mark.parametrize(
    ("labels", "voices", "match"),
    [
        (np.zeros(5, dtype=int), VOICES, "no neutral clip"),
        (CLIP_LABELS, [UNKNOWN] * 5, "no speaker is known"),
    ],
)
def test_a_baseline_that_cannot_be_had_is_one_message(labels, voices, match):
    with pytest.raises(UserError, match=match):
        delta("speaker").fit_statistics(map(spoken, CLIPS, voices), labels)
    with pytest.raises(UserError, match="no gender is known"):
        delta("gender").fit_statistics(map(spoken, CLIPS, [("a", None)] * 5), CLIP_LABELS)


def test_labels_without_neutral_are_refused():
    model = build_model(ModelConfig(kind="mfcc_lstm_delta"), ("angry", "sad"), 4.0)
    with pytest.raises(UserError, match="neutral speech, but the labels are angry, sad"):
        model.fit_statistics(SPOKEN, np.zeros(5, dtype=int))


def test_clips_of_more_than_100_frames_are_cut_to_their_loudest_stretch():
    frontend = delta().frontend
    (noise,) = waves(4.0)
    noise[: 16_000 * 9 // 10] *= 0.01
    features = frontend.features(noise)
    assert features.shape == (100, 13)
    # The loud part is 3.1 s at the end, 97 frames of 32 ms; the first 100 frames would hold 72 of them.
    assert (features[:, 0] > features[:, 0].max() - 60).sum() >= 95


# Training


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo")


SMALL = {
    "mfcc_cnn": {"mfcc_cnn": {"channels": [4, 8]}},
    "logmel_crnn": {"logmel_crnn": {"channels": [4, 4], "hidden": 4}},
    "mfcc_lstm_delta": {"mfcc_lstm_delta": {"channels": 8, "hidden": 8, "baseline": "speaker"}},
}


def config_of(folder, data, kind, **sections):
    train_section = {
        "epochs": 2,
        "batch_size": 8,
        "head_learning_rate": 1e-2,
        "mixup": 0.2,
        "sampler": "balanced",
        "focal_gamma": 1.0,
    } | sections.pop("train", {})
    model = {
        "kind": kind,
        "from_scratch": None,
        "freeze": "feature_encoder",
        "mask_time_prob": 0.1,
        "mask_feature_prob": 0.1,
        **SMALL[kind],
    }
    return write_tiny_config(folder / "small.yaml", data, model=model, train=train_section, **sections)


def test_interrupted_run_ends_byte_identical(kind, data, tmp_path):
    whole, pieces = (
        load_config(config_of(tmp_path, data, kind, run={"output": str(tmp_path / name / "outputs" / "small")}))
        for name in ("whole", "pieces")
    )
    train_fold(open_experiment(whole), 0, Stopper())
    assert train_in_pieces(pieces, 3) >= 2
    assert compare(tmp_path / "whole", tmp_path / "pieces") == []


def test_the_whole_way_and_predict_equals_what_training_wrote(kind, data, tmp_path):
    """Fault 14. The test clips' voices are unknown in training and in prediction alike."""
    path = config_of(tmp_path, data, kind)
    train.main(["--config", str(path)])
    run = Path(load_config(path).run.output)
    predict.main(
        ["--model", str(run), str(data / "test.csv"), "--data.cache", str(tmp_path / "cache"), "--output", str(tmp_path / "p.csv")]
    )
    columns = [f"p_{name}" for name in LABELS]
    mean = sum(pd.read_csv(run / f"fold_{fold}" / "test.csv")[columns].to_numpy() for fold in (0, 1)) / 2
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")[columns].to_numpy(), mean, atol=1e-6)
    card = read_json(run / "fold_0" / "model" / "ser_model.json")
    assert card["kind"] == kind
    other = read_json(run / "fold_1" / "model" / "ser_model.json")
    assert card["standards"]["pooled"] != other["standards"]["pooled"], "statistics of the fold's training part, not of all clips"


def test_baselines_of_a_fold_know_no_voice_of_its_validation_part(data, tmp_path):
    config = load_config(config_of(tmp_path, data, "mfcc_lstm_delta"))
    run = open_experiment(config)
    train_fold(run, 0, Stopper())
    known = set(read_json(run.folder / "fold_0" / "model" / "ser_model.json")["standards"]["of_voice"])
    neutral = run.train.labels == run.label_names.index("neutral")
    speakers = np.array(run.train.speakers)
    assert known == set(speakers[(run.folds != 0) & neutral]) != set()
    assert known.isdisjoint(speakers[run.folds == 0])


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ({"kind": "mfcc_cnn", "freeze": "none"}, "model.freeze"),
        ({"kind": "mfcc_cnn", "name": "some/checkpoint"}, "model.name"),
        ({"kind": "logmel_crnn", "mfcc_cnn": {"channels": [4]}}, "model.mfcc_cnn"),
        ({"mfcc_lstm_delta": {"hidden": 3}}, "model.mfcc_lstm_delta"),
    ],
)
def test_a_key_that_another_kind_reads_is_refused(tmp_path, model, key):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"model": model}))
    with pytest.raises(UserError, match=f"{key} is read by model.kind"):
        load_config(path)


def test_defaults_of_every_kind_are_accepted(kind):
    Config(model=ModelConfig(kind=kind))


def test_padding_is_the_mean_so_mixup_with_a_longer_clip_adds_nothing_loud(kind):
    model = model_of(kind)
    batch = model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in waves(0.5, 1.0)])
    assert (batch["frames"][~batch["mask"]] == 0).all()
    assert batch["frames"].abs().max() > 0.5
