"""Building models: heads, labels, layer weights, learning-rate groups, weights from scratch, SpecAugment, layer drop."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification

from checkpoints import LABELS, NAMED, logits, make_checkpoint, waves
from ser.config import ModelConfig
from ser.config.experiment import TAKES_TEXT
from ser.data.utterance import Utterance
from ser.models.encoder.saving import hub_network
from ser.models.encoder.states import hidden_states
from ser.models.registry import KINDS, build_model, model_class
from ser.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("undrawn")

SCRATCH = {
    "model_type": "wav2vec2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16, 16],
    "conv_kernel": [10, 8],
    "conv_stride": [10, 32],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


def scratch(**keys):
    return build_model(ModelConfig(from_scratch=SCRATCH | keys, freeze="none"), LABELS, 3.0)


def training_batch(model, *seconds):
    return model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in waves(*seconds)])


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
@pytest.mark.parametrize("kind", NAMED)
def test_head_has_exactly_one_output_per_label(tmp_path, kind, pooling):
    """Fault 4: a head with more outputs than labels."""
    folder = make_checkpoint(tmp_path, kind)
    for labels in (LABELS, LABELS[:2]):
        model = build_model(ModelConfig(name=str(folder), pooling=pooling), labels, 3.0).eval()
        assert logits(model, waves(1.0, 1.0)).shape == (2, len(labels))


def test_one_label_or_repeated_labels_are_refused():
    for labels in (("angry",), ("angry", "angry")):
        with pytest.raises(UserError, match="at least two, all different"):
            build_model(ModelConfig(from_scratch=SCRATCH, freeze="none"), labels, 3.0)


@pytest.mark.parametrize("kind", NAMED)
def test_pretrained_weights_arrive_unchanged(tmp_path, kind):
    from safetensors.torch import load_file

    folder = make_checkpoint(tmp_path, kind)
    stored = load_file(folder / "model.safetensors")
    model = build_model(ModelConfig(name=str(folder)), LABELS, 30.0)
    compared = 0
    for name, weight in model.encoder.state_dict().items():
        original = stored.get(f"encoder.{name}" if kind == "whisper" else name)
        if original is not None:
            assert torch.equal(weight, original), name
            compared += 1
    assert compared > 40


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("wav2vec2-group", "ForPreTraining"),
        ("wav2vec2-layer", "ForCTC"),
        ("hubert-layer", "ForCTC"),
        ("whisper", "ForConditionalGeneration"),
    ],
)
def test_checkpoints_of_another_task_bring_their_encoder_and_leave_their_head(tmp_path, caplog, kind, task):
    """The hub ships them so: pretraining, speech recognition; the older ones with weight norm under its old names."""
    import transformers
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint(tmp_path, kind, codevector_dim=16, proj_codevector_dim=16)
    config = transformers.AutoConfig.from_pretrained(folder)
    names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "whisper": "Whisper"}
    reference = getattr(transformers, names[config.model_type] + task)(config)
    reference.save_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v"): tensor
        for name, tensor in stored.items()
    }
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"gradient_checkpointing": True, "mask_channel_prob": 0.0}))

    model = build_model(ModelConfig(name=str(folder)), LABELS, 30.0)
    expected = (reference.model.encoder if kind == "whisper" else reference.base_model).state_dict()
    actual = model.encoder.state_dict()
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert not caplog.text


def test_bfloat16_checkpoint_is_trained_in_float32(tmp_path):
    folder = make_checkpoint(tmp_path, "wav2vec2-layer", dtype=torch.bfloat16)
    model = build_model(ModelConfig(name=str(folder)), LABELS, 3.0)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_new_weights_depend_on_the_seed_alone(tmp_path):
    folder = make_checkpoint(tmp_path, "hubert-group")
    for config in (
        ModelConfig(name=str(folder), layer_weights=True),
        ModelConfig(from_scratch=SCRATCH, freeze="none", pooling="attentive"),
    ):

        def weights(seed, config=config):
            torch.manual_seed(seed)
            return build_model(config, LABELS, 3.0).state_dict()

        first, again, other = weights(1), weights(1), weights(2)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)


def test_head_of_an_earlier_fine_tuning_is_not_carried_over(tmp_path):
    folder = make_checkpoint(tmp_path / "base", "wav2vec2-group")
    earlier = build_model(ModelConfig(name=str(folder)), LABELS, 3.0)
    earlier.save(tmp_path / "earlier")
    for labels in (LABELS, LABELS[:4]):
        torch.manual_seed(5)
        model = build_model(ModelConfig(name=str(tmp_path / "earlier")), labels, 3.0)
        assert model.head.classifier.weight.shape[0] == len(labels)
        assert not torch.equal(model.head.classifier.weight[:4], earlier.head.classifier.weight[:4])


@pytest.mark.parametrize("kind", NAMED)
def test_layer_weights_start_as_the_plain_mean_of_all_layers(tmp_path, kind):
    """Compared with the hub's own network, whose forward is not ours."""
    folder = make_checkpoint(tmp_path, kind)
    model = build_model(ModelConfig(name=str(folder), layer_weights=True), LABELS, 2.0).eval()
    weights = model.head.layer_weights.softmax(0)
    assert len(weights) == 4
    assert torch.allclose(weights, torch.full((4,), 0.25))

    clip = waves(2.0)
    with torch.no_grad():
        batch = model.frontend.collate([model.frontend.prepare(Utterance(clip[0]))])
        theirs = hub_network(model.encoder, model.head)(**batch).logits
    assert torch.allclose(logits(model, clip), theirs, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "statistics", "attentive"])
@pytest.mark.parametrize("layer_weights", [False, True])
@pytest.mark.parametrize("kind", NAMED)
def test_groups_hold_every_trainable_parameter_once_and_each_gets_a_gradient(tmp_path, kind, layer_weights, pooling):
    folder = make_checkpoint(tmp_path, kind)
    model = build_model(ModelConfig(name=str(folder), freeze="none", pooling=pooling, layer_weights=layer_weights), LABELS, 2.0).train()
    groups = model.parameter_groups()
    names = [name for group in groups.values() for name, _ in group]
    assert sorted(names) == sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)

    in_head = {name.split(".")[1] for name, _ in groups["head"]}
    attentive = pooling == "attentive"
    options = {"layer_weights": layer_weights and pooling != "statistics", "pooling": attentive, "projector": attentive}
    expected = {"classifier"} | {part for part, on in options.items() if on}
    assert in_head == expected

    model(**training_batch(model, 1.0, 1.6)).logsumexp(-1).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not without


def test_head_dropout_acts_in_training_only_and_leaves_no_trace_in_the_weights():
    model = build_model(ModelConfig(from_scratch=SCRATCH, freeze="none", head_dropout=0.5, mask_time_prob=0.0), LABELS, 3.0)
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.encoder.eval()
    plain = AutoModelForAudioClassification.from_config(model.encoder.config)
    assert set(plain.state_dict()) == set(hub_network(model.encoder, model.head).state_dict())
    batch = training_batch(model, 1.0)
    seen = []
    model.head.classifier.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model.head.train()
    model(**batch)
    model.head.eval()
    model(**batch)
    dropped, kept = seen
    zeros = dropped == 0
    assert 0.3 < zeros.float().mean() < 0.7
    assert torch.allclose(dropped[~zeros], 2 * kept[~zeros])


@pytest.mark.parametrize("kind", [*NAMED, "ast"])
def test_spec_augment_does_not_raise_on_a_clip_shorter_than_one_mask(tmp_path, kind):
    """transformers raises below 10 feature frames, which is 0.2 s."""
    folder = make_checkpoint(tmp_path, kind)
    model = build_model(ModelConfig(name=str(folder), mask_time_prob=0.9, mask_feature_prob=0.3), LABELS, 3.0).train()
    for seconds in ((0.01,), (0.1,), (0.15, 0.19), (0.1, 1.0)):
        assert torch.isfinite(model(**training_batch(model, *seconds))).all()
    assert getattr(model.encoder.config, "apply_spec_augment", True)


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "whisper", "ast"])
def test_spec_augment_hides_about_the_share_asked_for_in_training_only(tmp_path, kind):
    folder = make_checkpoint(tmp_path, kind)
    model = build_model(ModelConfig(name=str(folder), mask_time_prob=0.3), LABELS, 3.0)
    batch = training_batch(model, *[3.0] * 40)
    inputs = "input_features" if kind == "whisper" else "input_values"
    given = batch[inputs].clone()
    seen = []
    first = {"whisper": lambda: model.encoder.conv1, "ast": lambda: model.encoder.embeddings.patch_embeddings}
    first = first.get(kind, lambda: model.encoder.encoder)()
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))

    def share_hidden(mode):
        seen.clear()
        np.random.seed(0)  # noqa: NPY002 (transformers draws its masks there)
        with torch.no_grad():
            model.train(mode)(**batch)
        if kind == "whisper":
            return (seen[0] == 0).all(dim=1).float().mean()
        if kind == "ast":
            return (seen[0] == 0).all(dim=2).float().mean()
        return (seen[0] == model.encoder.masked_spec_embed).all(dim=-1).float().mean()

    # Spans overlap, so the share stays a little below the probability.
    assert 0.18 < share_hidden(mode=True) < 0.33
    assert share_hidden(mode=False) == 0
    assert torch.equal(batch[inputs], given), "the caller's batch must not change"


@pytest.mark.parametrize("kind", NAMED)
def test_certain_layer_drop_skips_every_layer_in_training_only(tmp_path, kind):
    folder = make_checkpoint(tmp_path, kind)
    model = build_model(ModelConfig(name=str(folder), layer_drop=1.0, layer_weights=True, mask_time_prob=0.0), LABELS, 2.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = training_batch(model, 1.0)

    def states():
        with torch.no_grad():
            return hidden_states(model.encoder, batch, every_layer=True)[0][:-1]  # Whisper's last one is normed

    model.train()
    skipped = states()
    assert all(torch.equal(state, skipped[0]) for state in skipped)
    model.eval()
    kept = states()
    assert not any(torch.equal(state, kept[0]) for state in kept[1:])


@pytest.mark.parametrize("kind", ["wav2vec2-group", "wavlm-layer", "whisper"])
def test_gradient_checkpointing_changes_memory_not_gradients(tmp_path, kind):
    folder = make_checkpoint(tmp_path, kind)

    def gradients(checkpointing):
        torch.manual_seed(0)
        model = build_model(ModelConfig(name=str(folder), layer_drop=0.5, gradient_checkpointing=checkpointing), LABELS, 2.0).train()
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 (transformers draws its masks there)
        model(**training_batch(model, 1.0, 1.0)).logsumexp(-1).sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    with_it, without = gradients(True), gradients(False)
    assert with_it.keys() == without.keys()
    assert all(torch.allclose(with_it[name], without[name], atol=1e-6) for name in without)


def test_unknown_key_from_scratch_is_named_with_its_neighbour():
    with pytest.raises(UserError, match=r"model\.from_scratch\.hiden_size.*hidden_size"):
        scratch(hiden_size=64)
    with pytest.raises(UserError, match=r"model_type: given 'wav2vec3'; allowed are wav2vec2, hubert"):
        scratch(model_type="wav2vec3")


@pytest.mark.parametrize(
    "keys",
    [
        {"num_attention_heads": 5},
        {"hidden_size": "big"},
        {"hidden_size": -1},
        {"conv_stride": [5]},
        {"num_conv_pos_embedding_groups": 7},
        {"hidden_act": "gelou"},
        {"feat_extract_norm": "none"},
        {"conv_dim": [16, 0]},
        {"hidden_size": 10**7, "intermediate_size": 10**7},
    ],
)
def test_impossible_sizes_from_scratch_are_a_user_error(keys):
    with pytest.raises(UserError, match=r"model\.from_scratch"):
        scratch(**keys)


def test_whisper_from_scratch_needs_no_checkpoint():
    keys = {"model_type": "whisper", "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    model = build_model(ModelConfig(from_scratch=keys | {"num_mel_bins": 16}, freeze="none"), LABELS, 2.0).eval()
    assert logits(model, waves(1.0)).shape == (1, 6)
    with pytest.raises(UserError, match="max_source_positions"):
        build_model(ModelConfig(from_scratch=keys | {"max_source_positions": 40}, freeze="none"), LABELS, 2.0)


def test_the_config_refuses_sound_settings_for_exactly_the_kinds_that_read():
    assert set(TAKES_TEXT) == {kind for kind in KINDS if model_class(kind).takes != "audio"}
