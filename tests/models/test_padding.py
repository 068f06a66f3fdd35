"""Padding and masks: a clip's prediction doesn't depend on its batch mates."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from checkpoints import CHECKPOINTS, LABELS, logits, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.encoder.frontends import Waveform
from ser.models.registry import build_model

MASKED = ("wav2vec2-layer", "hubert-layer", "wavlm-layer", "unispeech-layer", "unispeech-sat-layer", "mms", "w2v-bert")
GROUP = ("wav2vec2-group", "hubert-group", "wavlm-group")
EXACT_LENGTH = ("data2vec-audio", "sew", "conformer")


@pytest.fixture(params=["mean", "attentive"])
def pooling(request):
    return request.param


def model_of(tmp_path, kind, pooling="mean", **settings):
    folder = make_checkpoint(tmp_path, kind)
    model = build_model(ModelConfig(name=str(folder), pooling=pooling, **settings), LABELS, 4.0).eval()
    classifier = model.head.classifier
    classifier.weight.data *= 50  # a new head whispers: at a trained head's size differences can't hide under the tolerance
    return model


@pytest.mark.parametrize("kind", [*MASKED, *GROUP, "whisper", "ast"])
def test_a_batch_of_different_lengths_equals_one_by_one(tmp_path, kind, pooling):
    """Fault 5, and fault 10: neither lengths nor neighbours nor their order count."""
    model = model_of(tmp_path, kind, pooling, layer_weights=True)
    assert not model.exact_length
    clips = waves(0.4, 3.1, 1.7, 0.9)
    alone = torch.cat([logits(model, [clip]) for clip in clips])
    assert torch.allclose(logits(model, clips), alone, atol=1e-5)
    order = [2, 0, 3, 1]
    assert torch.allclose(logits(model, [clips[i] for i in order]), alone[order], atol=1e-5)
    assert (alone - alone[0]).abs().max() > 1e-4, "the test would pass on a model that ignores its input"


@pytest.mark.parametrize("kind", EXACT_LENGTH)
def test_batches_of_equal_length_equal_one_by_one_where_padding_counts(tmp_path, kind, pooling):
    model = model_of(tmp_path, kind, pooling)
    assert model.exact_length
    clips = waves(1.3, 1.3, 1.3)
    alone = torch.cat([logits(model, [clip]) for clip in clips])
    assert torch.allclose(logits(model, clips), alone, atol=1e-5)
    assert torch.allclose(logits(model, clips[::-1]), alone.flip(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["hubert-group", "hubert-layer"])
def test_hubert_with_a_batch_norm_before_its_positions_takes_clips_of_one_length(tmp_path, kind):
    """What it makes of zeroed padding leaks into the last frames of a clip (transformers issue 47739)."""
    model = build_model(ModelConfig(name=str(make_checkpoint(tmp_path, kind, conv_pos_batch_norm=True))), LABELS, 4.0)
    assert model.exact_length
    assert not model.frontend.lengths


@pytest.mark.parametrize("kind", EXACT_LENGTH)
def test_padding_would_change_the_output_there_which_is_why_exact_length_exists(tmp_path, kind):
    model = model_of(tmp_path, kind)
    short, long = waves(1.0, 3.0)
    assert (logits(model, [short, long])[0] - logits(model, [short])[0]).abs().max() > 1e-5


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_mask_is_given_to_the_kinds_that_were_trained_with_one(tmp_path, kind):
    model = model_of(tmp_path, kind)
    batch = model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in waves(0.5, 1.0)])
    assert ("attention_mask" in batch) == (kind in (*MASKED, "data2vec-audio", "conformer", "whisper"))
    if "attention_mask" in batch:  # of samples; Whisper's is of mel frames, w2v-BERT's of two at once, of which the clip's edge has none
        assert batch["attention_mask"].sum(1).tolist() == {"whisper": [50, 100], "w2v-bert": [24, 49]}.get(kind, [8000, 16_000])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(400, 4000), min_size=1, max_size=4),
    st.sampled_from([1e-6, 1e-3, 0.3, 1.0]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_wave_frontend_is_the_hub_s_feature_extractor(lengths, scale, normalize, seed):
    rng = np.random.default_rng(seed)
    clips = [rng.normal(0.02, scale, length).astype(np.float32) for length in lengths]
    frontend = Waveform(max_samples=4000, min_samples=400, normalize=normalize, mask=True)
    ours = frontend.collate([frontend.prepare(Utterance(clip)) for clip in clips])
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=True)
    theirs = extractor(clips, sampling_rate=16_000, padding=True, return_tensors="pt")
    assert torch.equal(ours["input_values"], theirs["input_values"])
    assert torch.equal(ours["attention_mask"], theirs["attention_mask"].long())


def test_longer_clips_are_cut_before_they_are_normalised_and_shorter_than_one_frame_are_padded():
    frontend = Waveform(max_samples=1000, min_samples=400, normalize=True, mask=False)
    (wave,) = waves(0.2)
    wave[1000:] += 5.0
    assert np.array_equal(frontend.prepare(Utterance(wave)), frontend.prepare(Utterance(wave[:1000])))
    for length in (0, 1, 399):
        assert frontend.prepare(Utterance(wave[:length])).shape == (400,)


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "wav2vec2-group", "whisper", "w2v-bert", "ast"])
def test_a_clip_of_a_single_sample_is_predicted_not_a_crash(tmp_path, kind):
    model = model_of(tmp_path, kind)
    for samples in (0, 1, 300):
        assert torch.isfinite(logits(model, [np.zeros(samples, dtype=np.float32)])).all()
    mixed = logits(model, [np.zeros(1, dtype=np.float32), *waves(1.0)])
    assert torch.isfinite(mixed).all()


def test_real_sizes_need_400_samples(tmp_path):
    folder = make_checkpoint(
        tmp_path, "wav2vec2-group", conv_dim=[8] * 7, conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2]
    )
    assert build_model(ModelConfig(name=str(folder)), LABELS, 4.0).frontend.min_samples == 400


def test_whisper_frontend_is_its_own_extractor_cut_to_the_seconds_needed(tmp_path):
    folder = make_checkpoint(tmp_path, "whisper")
    model = build_model(ModelConfig(name=str(folder)), LABELS, 3.2)
    assert model.max_seconds == 3.2
    (clip,) = waves(2.0)
    mel = model.frontend.prepare(Utterance(clip))
    assert mel.shape == (200, 16), "its own length, no silence behind it"
    full = WhisperFeatureExtractor(feature_size=16)(clip, sampling_rate=16_000, return_tensors="np")["input_features"][0]
    assert np.allclose(mel.T[:, :-2], full[:, :198], atol=1e-5), "but for the last frames, which look beyond the end"
    assert len(model.frontend.prepare(Utterance(waves(5.0)[0]))) == 400, "cut to the seconds that are heard"
    assert model.encoder.embed_positions.weight.shape[0] == model.encoder.config.max_source_positions == 200

    whole = build_model(ModelConfig(name=str(folder)), LABELS, 60.0)
    assert whole.encoder.config.max_source_positions == 1500
    assert whole.max_seconds == 30.0
    assert torch.equal(whole.encoder.embed_positions.weight[:200], model.encoder.embed_positions.weight)


def test_w2v_bert_hears_what_its_own_extractor_makes_of_a_clip(tmp_path):
    model = model_of(tmp_path, "w2v-bert")
    extractor = SeamlessM4TFeatureExtractor(num_mel_bins=16)
    for clip in waves(1.0, 0.517):
        made = extractor(clip, sampling_rate=16_000, return_tensors="pt")
        assert torch.equal(model.frontend.collate([model.frontend.prepare(Utterance(clip))])["input_features"], _real(made))
    assert len(model.frontend.prepare(Utterance(waves(5.0)[0]))) == 199, "cut to the seconds that are heard"


def _real(made):
    return made["input_features"][:, : int(made["attention_mask"].sum())]


@pytest.mark.parametrize("kind", ["hubert-layer", "whisper", "w2v-bert", "ast"])
def test_frontend_travels_to_loader_workers(tmp_path, kind):
    model = model_of(tmp_path, kind)
    copy = pickle.loads(pickle.dumps(model.frontend))  # noqa: S301
    (clip,) = waves(1.0)
    assert np.array_equal(copy.prepare(Utterance(clip)), model.frontend.prepare(Utterance(clip)))
