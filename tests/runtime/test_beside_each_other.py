import threading
from contextlib import suppress

import numpy as np
import pytest
import torch

from checkpoints import LABELS, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.inputs import Store
from ser.inference import forward
from ser.inference.forward import predict_probabilities
from ser.models.registry import build_model
from ser.runtime.beside_each_other import beside_each_other, how_many_at_once
from ser.runtime.device import make_accelerator


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_results_come_in_order_from_several_threads_without_gradients():
    both, seen = threading.Barrier(2, timeout=30), set()

    def work(number):
        if number < 2:
            both.wait()  # nobody passes alone
        seen.add(threading.get_ident())
        assert not torch.is_grad_enabled() and torch.get_num_threads() == 1
        return number

    assert list(beside_each_other(work, range(50))) == list(range(50))
    assert len(seen) > 1 and threading.get_ident() not in seen
    assert torch.get_num_threads() == 4 and torch.is_grad_enabled()


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("fails", [False, True])
def test_weights_that_change_afterwards_are_not_answered_from_old_casts(fails):
    """Fault: what autocast made of trainable weights in these threads outlived them; a resumed run in bf16 was judged by old weights."""
    layer, wave = torch.nn.Linear(8, 8), torch.randn(1, 8)

    def work(number):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(wave)
        if fails and number == 5:
            raise ValueError("five")

    with suppress(ValueError):
        list(beside_each_other(work, range(8)))
    with torch.no_grad():
        layer.weight.add_(1.0)
        expected = layer(wave)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(layer(wave).float(), expected, atol=0.1, rtol=0.02)


@pytest.mark.usefixtures("four_threads")
def test_an_error_ends_it_and_few_items_are_loaded_ahead():
    loaded = []

    def items():
        for number in range(1000):
            loaded.append(number)
            yield number

    def work(number):
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(beside_each_other(work, items()))
    assert len(loaded) < 12 and torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_one_at_a_time_has_all_threads_and_is_the_callers_own():
    seen = list(beside_each_other(lambda _: (threading.get_ident(), torch.get_num_threads()), range(3), at_most=1))
    assert seen == [(threading.get_ident(), 4)] * 3


@pytest.mark.usefixtures("four_threads")
def test_nothing_to_do_is_done_at_once():
    """Fault: where no file could be read, wav2vec2-base ended with a traceback instead of its table."""
    assert list(beside_each_other(abs, [], at_most=0)) == []


@pytest.mark.parametrize(
    ("threads", "at_most", "expected"),
    [(1, 4, 1), (2, 4, 2), (2, 1, 1), (4, 4, 4), (5, 4, 4), (6, 4, 3), (7, 4, 3), (16, 4, 4), (16, 2, 2), (2, 0, 1)],
)
def test_as_few_threads_as_can_be_are_idle(threads, at_most, expected):
    assert how_many_at_once(threads, at_most) == expected


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["wav2vec2-group", "wavlm-layer", "whisper"])
def test_clips_beside_each_other_are_answered_as_one_after_the_other(tmp_path, monkeypatch, kind, precision):
    settings = ModelConfig(name=str(make_checkpoint(tmp_path, kind)), pooling="attentive", layer_weights=True)
    model = build_model(settings, LABELS, 3.0).eval()
    clips = waves(*np.random.default_rng(0).uniform(0.2, 2.9, 24))
    store = Store.of_samples([(32_000 * clip).astype(np.int16) for clip in clips], None, None, None)
    rows, accelerator = np.arange(len(clips)), make_accelerator(precision)
    monkeypatch.setattr(forward, "ONE_BY_ONE", 0)  # as for a large network
    assert forward.cpu_batch(model) == 1
    found = predict_probabilities(model, store, rows, 16, accelerator)
    torch.set_num_threads(1)
    expected = predict_probabilities(model, store, rows, 16, accelerator)
    np.testing.assert_allclose(found, expected, atol=1e-6 if precision == "fp32" else 2e-3)
    assert np.ptp(expected, axis=0).max() > 1e-4, "the test would pass on a model that ignores its input"
