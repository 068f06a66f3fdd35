"""Packed weights answer as the layers themselves, only without gradients, only while they are the weights, and only where it gains."""

import copy
import pickle
import platform
from threading import Event, Thread

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from ser.runtime.device import cpu_has_bf16
from ser.runtime.packed_weights import SHARE, SMALLEST, pack_weights, packed_weights

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="packed on these processors")


def network(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 512, bias=bias), nn.GELU(), nn.Linear(512, 256, bias=bias), nn.Linear(256, 3))


def packed(model: nn.Module) -> list[bool]:
    return ["forward" in vars(layer) for layer in model if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 256), (3, 256), (1, 125, 256), (4, 31, 256), (2, 0, 256)])
def test_the_answers_are_those_of_the_layers(shape, bias):
    model, states = network(bias), torch.randn(shape)
    with torch.no_grad():
        own = model(states)
        with packed_weights(model, "no"):
            assert packed(model) == [True, True, False]  # the last is too small to gain
            torch.testing.assert_close(model(states), own, atol=1e-5, rtol=1e-5)
        assert packed(model) == [False] * 3 and torch.equal(model(states), own)


@pytest.mark.skipif(not cpu_has_bf16(), reason="this processor doesn't compute in bf16")
def test_the_answers_in_bf16_are_those_of_autocast():
    model, states = network(), torch.randn(2, 50, 256)
    whole = model(states).detach()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        own = model(states)
        with packed_weights(model, "bf16"):
            torch.testing.assert_close(model(states), own, atol=0.01, rtol=0.01)
            assert model(states).dtype == torch.bfloat16
            with torch.autocast("cpu", enabled=False):  # as a part that computes in float32 whatever the precision
                assert torch.equal(model(states), whole)


def test_gradients_are_those_of_the_layers():
    model, states = network(), torch.randn(5, 256)
    model(states).sum().backward()
    own = model[0].weight.grad.clone()
    model.zero_grad()
    with packed_weights(model, "no"):
        model(states).sum().backward()
    assert torch.equal(model[0].weight.grad, own)


CHANGES = {
    "in place": lambda model: model[0].weight.mul_(2),
    "a bias": lambda model: model[0].bias.add_(1),
    "loaded": lambda model: model.load_state_dict({name: 2 * tensor for name, tensor in model.state_dict().items()}),
    "another tensor": lambda model: setattr(model[0], "weight", nn.Parameter(2 * model[0].weight)),
    "there and back": lambda model: model.bfloat16().float(),
    "optimizer": lambda model: one_step(model),
    "no bias": lambda model: setattr(model[0], "bias", None),
    "turned": lambda model: setattr(model[2].weight, "data", model[2].weight.data.view(512, 256).t()),
}


def one_step(model: nn.Module) -> None:
    with torch.enable_grad():
        model(torch.ones(1, 256)).sum().backward()
    torch.optim.AdamW(model.parameters(), lr=0.1, fused=True).step()


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_changed_meanwhile_are_the_ones_heard(change):
    model, states = network(), torch.randn(5, 256)
    with torch.no_grad():
        pack_weights(model, "no")
        before = model(states)
        CHANGES[change](model)
        after = model(states)
        for layer in model:
            vars(layer).pop("forward", None)
        torch.testing.assert_close(after, model(states), atol=1e-5, rtol=1e-5)
    assert not torch.equal(before, after)


def test_a_packed_network_is_copied_without_its_packing():
    model, states = network(), torch.randn(5, 256)
    pack_weights(model, "no")
    with torch.no_grad():
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - made here
            torch.testing.assert_close(copied(states), model(states), atol=1e-5, rtol=1e-5)
            copied[0].weight.zero_()
            assert not torch.allclose(copied(states), model(states))


def test_an_error_leaves_no_layer_packed_and_what_was_packed_for_good_stays():
    model = network()
    with pytest.raises(ValueError), packed_weights(model, "no"):
        raise ValueError
    assert packed(model) == [False] * 3
    assert len(pack_weights(model, "no")) == 2
    with packed_weights(model, "no"):
        pass
    assert packed(model) == [True, True, False] and pack_weights(model, "no") == []


def test_the_weights_stay_where_they_are_for_all_that_asks_for_them():
    model = network()
    names, weight = list(model.state_dict()), model[0].weight
    with packed_weights(model, "no"):
        assert list(model.state_dict()) == names and model[0].weight is weight


def test_other_precisions_models_without_tensors_and_small_or_other_layers_are_left_alone():
    model = network()
    assert pack_weights(model, "fp16") == [] == pack_weights(object(), "no")
    assert pack_weights(nn.Linear(SMALLEST // 64 - 1, 64), "no") == [] == pack_weights(model.double(), "no")

    class Own(nn.Linear):
        pass

    assert pack_weights(Own(512, 512), "no") == []


def test_where_memory_is_small_nothing_is_packed(monkeypatch):
    model = network()
    needed = 2 * 256 * 512 * 4
    for memory, expected in {needed * SHARE - 1: 0, needed * SHARE: 2}.items():
        monkeypatch.setattr("ser.runtime.packed_weights.memory_here", lambda memory=memory: memory)
        assert len(pack_weights(model, "no")) == expected


def test_a_weight_norm_is_computed_once():
    layer, states = parametrizations.weight_norm(nn.Conv1d(8, 8, 3)), torch.randn(1, 8, 50)
    with torch.no_grad():
        own = layer(states)
        with packed_weights(layer, "no"):
            assert torch.equal(layer(states), own) and layer.forward.weight is layer.forward.weight
            layer.parametrizations.weight.original0.mul_(2)
            torch.testing.assert_close(layer(states) - layer.bias[:, None], 2 * (own - layer.bias[:, None]))
    assert "forward" not in vars(layer)


def test_other_networks_of_other_threads_are_left_alone():
    """One thread predicts for as long as another trains a network, reads weights into a second one and asks it."""

    def trained() -> list[torch.Tensor]:
        torch.manual_seed(1)
        layer, found = parametrizations.weight_norm(nn.Conv1d(8, 8, 3)), []
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(1, 8, 50)).pow(2).sum().backward()
            optimizer.step()
            found.append(layer(torch.ones(1, 8, 50)).detach())
        layer.load_state_dict({name: tensor / 2 for name, tensor in layer.state_dict().items()})
        return [*found, layer(torch.ones(1, 8, 50)).detach()]

    alone, predicting, done = trained(), Event(), Event()

    def predict() -> None:
        with torch.no_grad(), packed_weights(parametrizations.weight_norm(nn.Conv1d(8, 8, 3)), "no"):
            predicting.set()
            done.wait(60)

    thread = Thread(target=predict)
    thread.start()
    predicting.wait(60)
    beside = trained()
    done.set()
    thread.join()
    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))
