"""Frames in the order of memory: the same network, and nothing is copied where no gradient is wanted."""

import pytest
import torch
from transformers import AutoModel

from checkpoints import LABELS, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.registry import build_model

KINDS = ("wav2vec2-layer", "hubert-layer", "wavlm-layer", "data2vec-audio")


@pytest.fixture(params=KINDS)
def model(tmp_path, request):
    folder = make_checkpoint(tmp_path / "checkpoint", request.param)
    return build_model(ModelConfig(name=str(folder), freeze="none"), LABELS, 4.0).eval()


def layouts(model, gradients: bool) -> list[bool]:
    """Whether what each layer's activation is given lies in the order of memory."""
    found, inner = [], [layer.activation.activation for layer in model.encoder.feature_extractor.conv_layers]
    hooks = [activation.register_forward_pre_hook(lambda _, given: found.append(given[0].is_contiguous())) for activation in inner]
    batch = model.frontend.collate([model.frontend.prepare(Utterance(wave)) for wave in waves(1.0, 0.6)])
    with torch.set_grad_enabled(gradients):
        model(**batch)
    for hook in hooks:
        hook.remove()
    return found


def test_in_training_every_layer_hands_on_frames_in_the_order_of_memory(model):
    assert all(layouts(model, gradients=True))


def test_without_gradients_nothing_is_copied(model):
    assert not any(layouts(model, gradients=False))


def test_an_activation_with_weights_keeps_their_names(tmp_path):
    """Fault: saved under other names, they were missing when transformers opened the folder."""
    folder = make_checkpoint(tmp_path / "checkpoint", "wav2vec2-layer", feat_extract_activation="prelu")
    names = build_model(ModelConfig(name=str(folder)), LABELS, 4.0).encoder.state_dict().keys()
    assert "feature_extractor.conv_layers.0.activation.weight" in names


def test_values_and_gradients_are_those_of_transformers(model):
    reference = AutoModel.from_config(model.encoder.config)
    reference.load_state_dict(model.encoder.state_dict())  # names of weights are the checkpoint's
    sound = torch.from_numpy(waves(1.0)[0])[None]
    states = [network.feature_extractor(sound) for network in (model.encoder, reference)]
    for state in states:
        (state**2).sum().backward()
    torch.testing.assert_close(*states)
    for own, theirs in zip(model.encoder.feature_extractor.parameters(), reference.feature_extractor.parameters(), strict=True):
        torch.testing.assert_close(own.grad, theirs.grad, atol=5e-5, rtol=1e-4)
