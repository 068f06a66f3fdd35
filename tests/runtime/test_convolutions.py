"""The quicker convolutions answer as the networks of transformers do, at every length, and only while the weights are theirs."""

import platform

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from transformers import Wav2Vec2Config, Wav2Vec2Model

from ser.runtime.convolutions import FramewiseConvolution, LongConvolution, RoundedFrames
from ser.runtime.device import cpu_has_bf16
from ser.runtime.packed_weights import packed_weights

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="made for these processors")
bf16 = pytest.param("bf16", marks=pytest.mark.skipif(not cpu_has_bf16(), reason="this processor doesn't compute in bf16"))
RECEPTIVE, HOP = 400, 320  # samples of wav2vec2's first frame, and from a frame to the next


def network(norm: str = "group") -> Wav2Vec2Model:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "conv_dim": (160,) * 7}
    positions = {"num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 4}
    model = Wav2Vec2Model(Wav2Vec2Config(**sizes, **positions, feat_extract_norm=norm, conv_bias=norm == "layer")).eval()
    with torch.no_grad():
        for parameter in model.feature_extractor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms and biases that do something
    return model


@pytest.fixture(autouse=True)
def small_ones_count_as_large(monkeypatch):
    monkeypatch.setattr("ser.runtime.packed_weights.ONE_BY_ONE", 0)


def wave(samples: int, clips: int = 1) -> torch.Tensor:
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples))


def stand_ins(model: nn.Module) -> set[type]:
    return {type(vars(layer)["forward"]) for layer in model.modules() if "forward" in vars(layer)}


def states(model: Wav2Vec2Model, heard: torch.Tensor, precision: str = "no") -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return model(heard).last_hidden_state.float()


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("precision", ["no", bf16])
@pytest.mark.parametrize("samples", [RECEPTIVE, RECEPTIVE + HOP - 1, RECEPTIVE + 7 * HOP, RECEPTIVE + 15 * HOP + 3, 16000, 50001])
def test_the_answers_are_those_of_transformers(norm, precision, samples):
    model, heard = network(norm), wave(samples)
    with torch.no_grad():
        right, own = states(model, heard), states(model, heard, precision)
        with packed_weights(model, precision):
            assert {RoundedFrames, LongConvolution} <= stand_ins(model)
            assert (FramewiseConvolution in stand_ins(model)) == (precision == "bf16")
            found = states(model, heard, precision)
        assert stand_ins(model) == set()
    assert found.shape == right.shape == (1, (samples - RECEPTIVE) // HOP + 1, 64)
    if precision == "no":
        torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-5)
    else:  # no farther off than autocast itself
        assert (found - right).pow(2).mean().sqrt() < 1.3 * (own - right).pow(2).mean().sqrt() + 1e-3


@pytest.mark.parametrize("heard", [torch.zeros(1, 5000), 1e-4 * wave(5000), 10 + wave(5000), 1e4 * wave(5000)], ids=str)
def test_the_norm_of_silence_of_faint_loud_and_shifted_clips_is_group_norms(heard):
    model = network()
    with torch.no_grad():
        right = model.double()(heard.double()).last_hidden_state.float()
        own = model.float()(heard).last_hidden_state
        with packed_weights(model, "no"):
            found = model(heard).last_hidden_state
    assert (found - right).abs().max() < max(1e-5, 2 * (own - right).abs().max())


@pytest.mark.parametrize("precision", ["no", bf16])
def test_a_clip_of_a_smaller_network_is_heard_in_bf16_as_in_a_batch(precision, monkeypatch):
    monkeypatch.setattr("ser.runtime.packed_weights.ONE_BY_ONE", 50_000_000)
    model = network()
    with packed_weights(model, precision):
        assert (RoundedFrames in stand_ins(model)) == (precision == "no")


def test_several_clips_and_too_short_ones_are_as_without():
    model = network()
    with torch.no_grad(), packed_weights(model, "no"):
        found = model.feature_extractor(wave(5000, clips=3))
        with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
            model.feature_extractor(wave(RECEPTIVE - 1))
    assert torch.equal(found, model.feature_extractor(wave(5000, clips=3)))


CHANGED = {
    "first convolution": "feature_extractor.conv_layers.0.conv.weight",
    "norm": "feature_extractor.conv_layers.0.layer_norm.weight",
    "convolution": "feature_extractor.conv_layers.3.conv.weight",
    "positions": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
}


@pytest.mark.parametrize("precision", ["no", bf16])
@pytest.mark.parametrize("name", CHANGED.values(), ids=list(CHANGED))
def test_weights_that_change_meanwhile_are_the_ones_heard(name, precision):
    model, heard = network(), wave(8000)
    with torch.no_grad():
        with packed_weights(model, precision):
            before = states(model, heard, precision)
            weight = model.get_parameter(name)
            weight.copy_(3 * weight.flip(*range(weight.ndim)))
            found = states(model, heard, precision)
        after = states(model, heard)
    assert (found - after).pow(2).mean() < 0.1 * (found - before).pow(2).mean()


def test_gradients_are_those_of_the_network():
    model, heard = network(), wave(5000)
    model.feature_extractor(heard).sum().backward()
    name = "conv_layers.2.conv.weight"
    own = model.feature_extractor.get_parameter(name).grad.clone()
    model.zero_grad()
    with packed_weights(model, "no"):
        model.feature_extractor(heard).sum().backward()
    assert torch.equal(model.feature_extractor.get_parameter(name).grad, own)


@settings(max_examples=40, deadline=None)
@given(
    taps=st.integers(64, 130),
    padding=st.integers(0, 63),
    groups=st.sampled_from([1, 2, 4]),
    length=st.integers(1, 700),
    clips=st.integers(1, 3),
    bias=st.booleans(),
)
def test_a_long_convolution_is_torchs(taps, padding, groups, length, clips, bias):
    torch.manual_seed(taps)
    layer = parametrizations.weight_norm(nn.Conv1d(8, 12, taps, padding=padding, groups=groups, bias=bias))
    heard = torch.randn(clips, 8, max(length, taps - 2 * padding))
    with torch.no_grad():
        right = layer(heard)
        with packed_weights(layer, "no"):
            assert stand_ins(layer) == {LongConvolution}
            torch.testing.assert_close(layer(heard), right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["no", bf16])
def test_clips_of_many_lengths_need_few_kernels(precision):
    """oneDNN makes one for every shape of a product: those of clips whose frames round to the same number are the same."""
    model = network()
    shapes = set()
    with torch.no_grad(), packed_weights(model, precision), torch.profiler.profile(record_shapes=True) as profile:
        for frames in range(17, 33):
            states(model, wave(RECEPTIVE + frames * HOP - HOP + frames), precision)
    for event in profile.key_averages(group_by_input_shape=True):
        if event.key in ("mkldnn::_linear_pointwise", "aten::mkldnn_convolution"):
            shapes.add(str(event.input_shapes))
    layers = 7 + np.count_nonzero([layer.weight.numel() >= 2**16 for layer in model.modules() if isinstance(layer, nn.Linear)])
    assert 0 < len(shapes) <= layers * (1 if precision == "bf16" else 2)
