"""Convolutions as products: the values and gradients of torch's, and frames that lie one after another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel

from checkpoints import LABELS, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.registry import build_model
from ser.train.quick_convolutions import quick_convolutions

CPU = torch.device("cpu")
WIDE = {"conv_dim": [128, 16, 16]}  # as many channels as a group norm needs to go with the weights
KINDS = ("wav2vec2-layer", "hubert-layer", "wavlm-layer", "data2vec-audio", "wav2vec2-group", "hubert-group", "wavlm-group", "sew")


def with_gradients(layer: nn.Module, states: torch.Tensor) -> list[torch.Tensor]:
    """What it makes of them, and how a loss of it hangs on them and on each weight."""
    states = (states * 1).requires_grad_()
    heard = states * 1  # no leaf, as between two layers
    made = layer(heard)
    loss = (made * torch.linspace(-1, 1, made.numel(), dtype=made.dtype).view(made.shape)).sum()
    return [made.detach(), *torch.autograd.grad(loss, [states, *layer.parameters()])]


@settings(max_examples=60, deadline=None)
@given(
    clips=st.integers(1, 3),
    channels=st.integers(1, 5),
    taps=st.integers(1, 40),
    stride=st.integers(1, 20),
    more=st.integers(0, 70),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_values_and_gradients_are_torchs(clips, channels, taps, stride, more, bias, seed):
    torch.manual_seed(seed)
    layer = nn.Conv1d(channels, 4, taps, stride, bias=bias).double()
    states = torch.randn(clips, channels, taps + more, dtype=torch.double)
    expected = with_gradients(layer, states)
    with quick_convolutions(CPU):
        found = with_gradients(layer, states)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("channels", "taps", "stride"), [(1, 64, 16), (1, 10, 5), (1, 33, 16), (2, 10, 5), (3, 3, 2), (4, 2, 2)])
def test_so_are_those_of_the_sizes_in_use(channels, taps, stride):
    """Fault: of one channel with more taps than its stride the network learnt by other weights than it predicts with."""
    torch.manual_seed(0)
    layer, states = nn.Conv1d(channels, 6, taps, stride), torch.randn(2, channels, 400)
    expected = with_gradients(layer, states)
    with quick_convolutions(CPU):
        found = with_gradients(layer, states)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", [0, 1, 2, 8, "same"])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("frames", [17, 24, 25])
def test_so_are_those_of_convolutions_with_padding_and_groups(padding, groups, frames):
    torch.manual_seed(0)
    layer = nn.Conv1d(8, 12, 16, padding=padding, groups=groups).double()
    states = torch.randn(2, 8, frames, dtype=torch.double)
    expected = with_gradients(layer, states)
    with quick_convolutions(CPU):
        found = with_gradients(layer, states)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_network_learns_as_that_of_transformers(tmp_path, kind, checkpointing):
    folder = make_checkpoint(tmp_path / "checkpoint", kind, **WIDE)
    config = ModelConfig(name=str(folder), freeze="none", gradient_checkpointing=checkpointing)
    model = build_model(config, LABELS, 4.0).train()
    reference = AutoModel.from_config(model.encoder.config).train()
    reference.load_state_dict(model.encoder.state_dict())  # names of weights are the checkpoint's
    batch = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waves(1.0, 0.6)], batch_first=True)
    states = [reference.feature_extractor(batch)]
    with quick_convolutions(CPU):
        states.append(model.encoder.feature_extractor(batch))
        states[1].square().sum().backward()
    states[0].square().sum().backward()
    torch.testing.assert_close(states[1], states[0], atol=2e-5, rtol=1e-4)
    for (name, own), theirs in zip(
        model.encoder.feature_extractor.named_parameters(), reference.feature_extractor.parameters(), strict=True
    ):
        scale = float(theirs.grad.abs().max())
        torch.testing.assert_close(own.grad, theirs.grad, atol=2e-5 * scale, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "wav2vec2-group", "wavlm-layer"])
def test_layer_norms_and_activations_get_frames_that_follow_each_other(tmp_path, kind):
    folder = make_checkpoint(tmp_path / "checkpoint", kind, **WIDE)
    model = build_model(ModelConfig(name=str(folder), freeze="none"), LABELS, 4.0).train()
    found = []
    for layer in model.encoder.feature_extractor.conv_layers:
        layer.activation.register_forward_pre_hook(lambda _, given: found.append(given[0].transpose(1, 2).is_contiguous()))
    batch = model.frontend.collate([model.frontend.prepare(Utterance(wave)) for wave in waves(1.0, 0.6)])
    with quick_convolutions(CPU):
        model(**batch)
    assert found == [True] * 3


@pytest.mark.parametrize("clips", [2, 64])
def test_in_bf16_they_are_as_near_to_float32_as_torchs(clips):
    torch.manual_seed(0)
    layer, states = nn.Conv1d(64, 32, 3, 2), torch.randn(clips, 64, 101)
    exact = with_gradients(layer, states)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = with_gradients(layer, states)
        with quick_convolutions(CPU):
            ours = with_gradients(layer, states)
    assert ours[0].dtype == torch.bfloat16
    for own, torchs, right in zip(ours, theirs, exact, strict=True):
        assert (own - right).norm() < 1.5 * (torchs - right).norm() < 0.1 * right.norm()


def test_gradient_checkpointing_and_frozen_weights():
    torch.manual_seed(0)
    layer, states = nn.Conv1d(4, 4, 5, 2), torch.randn(2, 4, 50)
    plain = with_gradients(layer, states)
    with quick_convolutions(CPU):
        found = with_gradients(again_on_the_way_back(layer), states)
        layer.requires_grad_(False)
        heard = states.clone().requires_grad_()
        (of_states,) = torch.autograd.grad(layer(heard * 1).sum(), heard)
        still = layer(states)
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert of_states.abs().sum() > 0 and not still.requires_grad


@pytest.mark.parametrize("kind", ["wav2vec2-group", "wav2vec2-layer"])
def test_a_wave_that_is_asked_for_its_gradient_has_it(tmp_path, kind):
    """Which samples an answer hangs on, as a notebook may ask."""
    model = build_model(ModelConfig(name=str(make_checkpoint(tmp_path / "checkpoint", kind, **WIDE))), LABELS, 4.0).eval()
    wave = torch.from_numpy(waves(1.0)[0])[None].requires_grad_()
    (plain,) = torch.autograd.grad(model(input_values=wave)[0, 0], wave)
    with quick_convolutions(CPU):
        (found,) = torch.autograd.grad(model(input_values=wave)[0, 0], wave)
    assert plain.abs().max() > 0
    torch.testing.assert_close(found, plain, atol=1e-3 * float(plain.abs().max()), rtol=1e-3)


def again_on_the_way_back(layer: nn.Module) -> nn.Module:
    """The layer, gone through again on the way back."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.layer, states, use_reentrant=False)

    return Checkpointed()


def test_outside_and_on_a_gpu_they_are_torchs():
    usual = F.conv1d
    with quick_convolutions(torch.device("cuda")):
        assert F.conv1d is usual
    with pytest.raises(ZeroDivisionError), quick_convolutions(CPU):
        assert F.conv1d is not usual
        raise ZeroDivisionError
    assert F.conv1d is usual


def test_what_torch_refuses_is_refused_as_by_torch():
    with quick_convolutions(CPU), pytest.raises(RuntimeError, match="Kernel size"):
        nn.Conv1d(2, 2, 5)(torch.randn(1, 2, 4))
    with quick_convolutions(CPU):
        with pytest.raises(RuntimeError, match="channels"):
            nn.Conv1d(2, 2, 5)(torch.randn(1, 4, 9))
        assert nn.Conv1d(2, 2, 5)(torch.randn(2, 9)).shape == (2, 5)
        assert F.conv1d(torch.randn(1, 2, 9), torch.randn(2, 2, 5), stride=[2]).shape == (1, 2, 3)
        assert nn.Conv1d(2, 2, 5, dilation=2)(torch.randn(1, 2, 9)).shape == (1, 2, 1)
