"""Group norm over a clip's own frames: what torch's gives for the clip alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import AutoModel

from checkpoints import LABELS, logits, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.encoder.group_norm import over_own_frames
from ser.models.encoder.states import hidden_states
from ser.models.registry import build_model

KERNEL, STRIDE = 10, 5  # of the checkpoints here, and of the real ones


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_checkpoint(tmp_path_factory.mktemp("group_norm"), "wav2vec2-group")
    model = build_model(ModelConfig(name=str(folder)), LABELS, 4.0).eval()
    model.head.classifier.weight.data *= 50
    return model


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(400, 4000), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 0.1, 3.0]),
    loud=st.sampled_from([1e-3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_it_is_torch_s_group_norm_of_each_clip_alone(model, lengths, offset, loud, seed):
    norm = model.encoder.feature_extractor.conv_layers[0].layer_norm
    generator = torch.Generator().manual_seed(seed)
    own = [(length - KERNEL) // STRIDE + 1 for length in lengths]
    states = loud * (torch.randn(len(lengths), norm.num_channels, max(own), generator=generator) + offset)
    with torch.no_grad(), over_own_frames(model.encoder, torch.tensor(lengths)):
        together = norm(states)
        for clip, frames, normed in zip(states, own, together, strict=True):
            alone = F.group_norm(clip[None, :, :frames], norm.num_groups, norm.weight, norm.bias, norm.eps)[0]
            torch.testing.assert_close(normed[:, :frames], alone, atol=2e-5, rtol=1e-5)


def test_in_training_it_is_the_network_of_transformers(model):
    """Padding is heard as the silence that such a checkpoint was pretrained with: no mask, no lengths."""
    clips = [model.frontend.prepare(clip) for clip in _utterances(0.7, 1.9)]
    batch = model.frontend.collate(clips)
    reference = AutoModel.from_config(model.encoder.config)
    reference.load_state_dict(model.encoder.state_dict())
    model.encoder.config.apply_spec_augment = reference.config.apply_spec_augment = False
    try:
        torch.manual_seed(0)  # of the dropout
        (state,), mask = hidden_states(model.encoder.train(), batch, every_layer=False)
        torch.manual_seed(0)
        expected = reference.train()(batch["input_values"]).last_hidden_state
    finally:
        model.eval()
    assert mask is None
    torch.testing.assert_close(state, expected)


def _utterances(*seconds):
    return [Utterance(wave) for wave in waves(*seconds)]


def test_threads_that_share_a_model_don_t_share_lengths(model):
    sets = [waves(0.4, 2.1, 1.0), waves(1.5, 0.6), waves(3.0, 0.5, 0.7, 2.2)]
    alone = [logits(model, clips) for clips in sets]
    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            for expected, given_ in zip(alone, threads.map(lambda clips: logits(model, clips), sets), strict=True):
                torch.testing.assert_close(given_, expected, atol=1e-6, rtol=1e-6)
