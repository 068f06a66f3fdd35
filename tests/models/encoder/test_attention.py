"""Attention maps of every family: what the layer itself computes, and nothing changed afterwards."""

import numpy as np
import pytest
import torch

from checkpoints import LABELS, NAMED, logits, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.encoder.attention import attention_maps
from ser.models.encoder.freezing import transformer
from ser.models.registry import build_model


def build(folder, kind):
    torch.manual_seed(0)
    return build_model(ModelConfig(name=str(make_checkpoint(folder, kind))), LABELS, 2.0).eval()


@pytest.mark.parametrize("kind", NAMED)
def test_rows_sum_to_one_over_the_clips_own_frames_and_the_model_stays_as_it_was(tmp_path, kind):
    model = build(tmp_path, kind)
    clip = waves(1.0)[0]
    before = logits(model, [clip])
    maps = attention_maps(model, Utterance(clip))
    assert maps.shape[:2] == (3, 4)  # layers, heads
    assert maps.shape[2] == maps.shape[3] in (49, 50)
    assert np.allclose(maps.sum(axis=-1), 1, atol=1e-5)
    assert torch.equal(logits(model, [clip]), before)
    hooks = [len(module._forward_hooks) for module in model.modules()]
    attention_maps(model, Utterance(clip))
    assert [len(module._forward_hooks) for module in model.modules()] == hooks


@pytest.mark.parametrize("kind", ["wav2vec2-group", "wav2vec2-layer", "whisper"])
def test_weights_are_the_softmax_of_queries_and_keys(tmp_path, kind):
    model = build(tmp_path, kind)
    layer = transformer(model.encoder).layers[1]
    attention = layer.self_attn if kind == "whisper" else layer.attention
    heard = []
    handles = [
        projection.register_forward_hook(lambda *call: heard.append(call[2].detach()))
        for projection in (attention.q_proj, attention.k_proj)
    ]
    maps = attention_maps(model, Utterance(waves(1.0)[0]))
    for handle in handles:
        handle.remove()
    query, key = (values[0].reshape(-1, 4, 8).transpose(0, 1) for values in heard[-2:])
    expected = (query @ key.transpose(1, 2) / np.sqrt(8)).softmax(-1)
    assert np.allclose(maps[1], expected.numpy(), atol=1e-5)
