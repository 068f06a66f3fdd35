"""Clips in a row are heard as each alone, by every network that takes them so, and only while its weights are the ones made ready."""

import platform
from contextlib import ExitStack, contextmanager
from threading import Thread

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    UniSpeechConfig,
    UniSpeechModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from ser.data.inputs import Store
from ser.inference import forward
from ser.inference.forward import predict_probabilities
from ser.models.encoder.encoder import EncoderModel
from ser.models.encoder.heads import PooledHead
from ser.models.encoder.in_a_row import takes_clips_in_a_row
from ser.models.encoder.states import hidden_states
from ser.runtime.clips_in_a_row import row_here
from ser.runtime.device import cpu_has_bf16, make_accelerator
from ser.runtime.packed_weights import packed_weights

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="made for these processors")
bf16 = pytest.param("bf16", marks=pytest.mark.skipif(not cpu_has_bf16(), reason="this processor doesn't compute in bf16"))
KINDS = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model, {}),
    "wav2vec2, layer norm": (
        Wav2Vec2Config,
        Wav2Vec2Model,
        {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True},
    ),
    "hubert": (HubertConfig, HubertModel, {}),
    "unispeech": (UniSpeechConfig, UniSpeechModel, {}),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatModel, {}),
}
SIZES = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256, "conv_dim": (160,) * 7}


def network(kind: str = "wav2vec2") -> PreTrainedModel:
    torch.manual_seed(0)
    config, model, others = KINDS[kind]
    made = model(config(**SIZES, num_conv_pos_embeddings=128, num_conv_pos_embedding_groups=4, **others)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms and biases that do something
    return made


@pytest.fixture(autouse=True)
def small_ones_count_as_large(monkeypatch):
    monkeypatch.setattr("ser.runtime.packed_weights.ONE_BY_ONE", 0)


def batch_of(lengths: list[int], told: str = "own_samples") -> dict[str, torch.Tensor]:
    """Clips with noise behind them, which nobody may hear."""
    own = torch.tensor(lengths)
    wave = torch.randn(len(lengths), max(lengths) + 50, generator=torch.Generator().manual_seed(sum(lengths)))
    mask = torch.arange(wave.shape[1]) < own[:, None]
    return {"input_values": wave, told: own if told == "own_samples" else mask.long()}


def alone(model: PreTrainedModel, batch: dict[str, torch.Tensor], lengths: list[int]) -> list[tuple[torch.Tensor, ...]]:
    """Of each clip all hidden states, and the last, which may have gone through a norm."""
    answers = [model(batch["input_values"][n : n + 1, :length], output_hidden_states=True) for n, length in enumerate(lengths)]
    return [(*answer.hidden_states, answer.last_hidden_state) for answer in answers]


@contextmanager
def counted_rows(model: PreTrainedModel):
    """How many clips were in a row when the last layer was called."""
    rows = []
    hook = model.encoder.layers[-1].register_forward_hook(lambda *_: rows.append(row_here() and len(row_here().frames)))
    yield rows
    hook.remove()


@pytest.mark.parametrize("precision", ["no", bf16])
@pytest.mark.parametrize("told", ["own_samples", "attention_mask"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_clip_has_the_states_that_transformers_gives_it_alone(kind, told, precision):
    model, lengths = network(kind), [9000, 400, 5003, 8999, 720]
    batch = batch_of(lengths, told)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        right = alone(model, batch, lengths)
        with packed_weights(model, precision), counted_rows(model) as rows:
            states, mask = hidden_states(model, batch, every_layer=True)
            (last,), _ = hidden_states(model, batch, every_layer=False)
    assert rows == [5, 5] and len(states) == 3
    close = {"atol": 1e-4, "rtol": 1e-4} if precision == "no" else {"atol": 0.15, "rtol": 0.1}
    for place, own in enumerate(right):
        frames = own[0].shape[1]
        assert mask[place].tolist() == [True] * frames + [False] * (mask.shape[1] - frames)
        for found, wanted in zip([*(state[place, :frames] for state in states), last[place, :frames]], own, strict=True):
            torch.testing.assert_close(found.float(), wanted[0].float(), **close)
    assert all((state[~mask] == 0).all() for state in states)


MODEL = network()


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(400, 12_000), min_size=2, max_size=6))
def test_at_every_length(lengths):
    batch = batch_of(lengths)
    with torch.no_grad():
        right = alone(MODEL, batch, lengths)
        with packed_weights(MODEL, "no"):
            (last,), mask = hidden_states(MODEL, batch, every_layer=False)
    for place, own in enumerate(right):
        torch.testing.assert_close(last[place][mask[place]], own[-1][0], atol=1e-4, rtol=1e-4)


def other_kinds() -> dict[str, PreTrainedModel]:
    wavlm = WavLMModel(WavLMConfig(**SIZES, num_conv_pos_embeddings=128, num_conv_pos_embedding_groups=4)).eval()
    eager = network()
    eager.set_attn_implementation("eager")
    with_adapter = Wav2Vec2Model(Wav2Vec2Config(**SIZES, num_conv_pos_embeddings=128, num_conv_pos_embedding_groups=4, add_adapter=True))
    return {"another attention": wavlm, "attention in steps": eager, "an adapter": with_adapter.eval(), "training": network().train()}


@pytest.mark.parametrize("what", list(other_kinds()))
def test_networks_that_do_not_take_them_are_told(what):
    model = other_kinds()[what]
    with torch.no_grad(), packed_weights(model, "no"):
        assert not takes_clips_in_a_row(model)


def test_none_are_in_a_row_with_gradients_or_without_what_was_made_ready():
    model = network()
    with torch.no_grad():
        assert not takes_clips_in_a_row(model)
        with packed_weights(model, "no"):
            assert takes_clips_in_a_row(model)
            with torch.enable_grad():
                assert not takes_clips_in_a_row(model)
            with torch.autocast("cpu", torch.bfloat16):
                assert not takes_clips_in_a_row(model)


@pytest.mark.parametrize("name", ["layers.1.attention.v_proj.bias", "pos_conv_embed.conv.parametrizations.weight.original1"])
def test_weights_that_change_meanwhile_are_the_ones_heard(name):
    model, lengths = network(), [6000, 4000]
    batch = batch_of(lengths)
    with torch.no_grad():
        with packed_weights(model, "no"):
            model.encoder.get_parameter(name).mul_(-2)
            assert not takes_clips_in_a_row(model)
            found = model(batch["input_values"][:1, :6000]).last_hidden_state
        torch.testing.assert_close(found, alone(model, batch, lengths)[0][-1], atol=1e-4, rtol=1e-4)


def test_attention_of_padded_clips_is_the_layers_own():
    model, states = network(), torch.randn(3, 40, 256)
    attention = model.encoder.layers[0].attention
    mask = (torch.arange(40) < torch.tensor([40, 7, 25])[:, None])[:, None, None]
    with torch.no_grad():
        right = attention(states, attention_mask=mask)[0]
        with packed_weights(model, "no"):
            torch.testing.assert_close(attention(states, attention_mask=mask)[0], right, atol=1e-4, rtol=1e-4)


def test_threads_do_not_hear_each_others_clips():
    model, lengths = network(), [[3000, 9000], [5000, 1200, 700], [8000, 7000], [400, 6000]]
    found = {}

    def hear(number: int) -> None:
        with torch.no_grad():
            found[number] = [hidden_states(model, batch_of(lengths[number]), every_layer=False)[0][0] for _ in range(3)]

    with torch.no_grad(), packed_weights(model, "no"):
        right = [hidden_states(model, batch_of(some), every_layer=False)[0][0] for some in lengths]
        threads = [Thread(target=hear, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, wanted in enumerate(right):
        for own in found[number]:
            torch.testing.assert_close(own, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("clips", "batch_size", "expected"),
    [(9, 16, [4, 4, 1]), (9, 4, [2, 2, 2, 2, 1]), (5, 16, [2, 2, 1]), (3, 2, [1, 1, 1]), (2, 16, [1, 1]), (1, 16, [1])],
)
def test_a_large_network_predicts_four_in_a_row_and_fewer_where_threads_would_be_idle(clips, batch_size, expected, two_threads):
    rows, found, right = predicted(clips, batch_size, "fp32")
    assert sorted((row or 1 for row in rows), reverse=True) == expected
    np.testing.assert_allclose(found, right, atol=1e-6)


@pytest.mark.skipif(not cpu_has_bf16(), reason="this processor doesn't compute in bf16")
def test_in_bf16_a_clips_answer_is_the_very_same_whatever_is_beside_it(two_threads):
    rows, found, right = predicted(9, 16, "bf16")
    assert rows == [None] * 9
    np.testing.assert_array_equal(found, right)


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(forward, "ONE_BY_ONE", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def predicted(clips: int, batch_size: int, precision: str) -> tuple[list[int | None], np.ndarray, np.ndarray]:
    """How many were in a row in each batch, their probabilities, and those of each alone."""
    model = EncoderModel(network(), PooledHead(256, 6, None, False), Wav2Vec2FeatureExtractor(), tuple("abcdef"), 3.0).eval()
    draw = np.random.default_rng(0)
    waves = [(3000 * draw.standard_normal(draw.integers(500, 12_000))).astype(np.int16) for _ in range(clips)]
    store, accelerator = Store.of_samples(waves, None, None, None), make_accelerator(precision)
    with counted_rows(model.encoder) as rows:
        found = predict_probabilities(model, store, np.arange(clips), batch_size, accelerator)
    right = [predict_probabilities(model, store, np.array([row]), batch_size, accelerator) for row in range(clips)]
    return rows, found, np.concatenate(right)


def test_clips_too_short_for_a_frame_go_the_other_way():
    model, batch = network(), batch_of([9000, 399])
    with torch.no_grad():
        states, mask = hidden_states(model, batch, every_layer=False)
        with packed_weights(model, "no"):
            again, mask_again = hidden_states(model, batch, every_layer=False)
    assert torch.equal(mask, mask_again)
    torch.testing.assert_close(again[0][0], states[0][0], atol=1e-4, rtol=1e-4)


def test_a_hook_on_a_projection_and_another_layer_in_its_place_are_heard():
    model, states = network(), torch.randn(1, 20, 256)
    attention, called = model.encoder.layers[0].attention, []
    with torch.no_grad(), packed_weights(model, "no"):
        hook = attention.k_proj.register_forward_hook(lambda *_: called.append(1))
        right = attention(hidden_states=states)[0]
        assert called == [1]
        hook.remove()
        torch.testing.assert_close(attention(hidden_states=states)[0], right, atol=1e-5, rtol=1e-5)
        attention.v_proj = torch.nn.Sequential(attention.v_proj, torch.nn.Linear(256, 256))  # as adapters are put around a layer
        attention.v_proj.weight, attention.v_proj.bias = attention.v_proj[0].weight, attention.v_proj[0].bias
        changed = attention(hidden_states=states)[0]
    torch.testing.assert_close(changed, attention(hidden_states=states)[0].detach(), atol=1e-5, rtol=1e-5)
    assert (changed - right).abs().max() > 0.01


def test_what_is_taken_away_meanwhile_by_another_thread_does_not_mix_clips():
    model, lengths = network("wav2vec2, layer norm"), [6000, 4000]  # padded it answers as alone
    batch, packed = batch_of(lengths, "attention_mask"), ExitStack()
    with torch.no_grad():
        right = alone(model, batch, lengths)
        packed.enter_context(packed_weights(model, "no"))
        hook = model.encoder.layers[0].register_forward_hook(lambda *_: packed.close())
        states, mask = hidden_states(model, batch, every_layer=False)
        hook.remove()
    for place, own in enumerate(right):
        torch.testing.assert_close(states[0][place][mask[place]], own[-1][0], atol=1e-4, rtol=1e-4)
