import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ser.train.quick_dropout import quick_dropout

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_values_are_dropped_with_their_probability_and_the_others_scaled(p, precision):
    torch.manual_seed(0)
    values = torch.ones(100, 1001, dtype=precision)  # no multiple of four
    with quick_dropout(CPU):
        left = F.dropout(values, p)
    assert left.dtype == precision and left.shape == values.shape
    dropped = float((left == 0).float().mean())
    assert abs(dropped - p) < 4 * np.sqrt(p * (1 - p) / values.numel()) + 2**-16
    assert left[left != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-2 if precision == torch.bfloat16 else 1e-3)


def test_neighbours_and_calls_are_dropped_independently():
    torch.manual_seed(0)
    values = torch.ones(200_000)
    with quick_dropout(CPU):
        first, second = (F.dropout(values, 0.5) == 0 for _ in range(2))
    for one, other in ((first[1:], first[:-1]), (first[4:], first[:-4]), (first, second)):
        assert abs(np.corrcoef(one.numpy(), other.numpy())[0, 1]) < 0.01  # 4.5 deviations


def test_torchs_seed_decides_what_is_dropped():
    def drop(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        with quick_dropout(CPU):
            return nn.Dropout(0.3)(torch.ones(1000))

    assert torch.equal(drop(1), drop(1)) and not torch.equal(drop(1), drop(2))


def test_nothing_is_dropped_in_prediction_or_with_probability_zero_and_all_with_one():
    values = torch.randn(50)
    with quick_dropout(CPU):
        assert torch.equal(nn.Dropout(0.3).eval()(values), values)
        assert torch.equal(F.dropout(values, 0.0), values)
        assert not F.dropout(values, 1.0).any()
        assert F.dropout(torch.ones(0), 0.3).shape == (0,)


def test_outside_and_on_a_gpu_dropout_is_torchs():
    torch.manual_seed(3)
    expected = F.dropout(torch.ones(100), 0.3)
    torch.manual_seed(3)
    with quick_dropout(torch.device("cuda")):
        found = F.dropout(torch.ones(100), 0.3)
    torch.manual_seed(3)
    with quick_dropout(CPU):
        ours = F.dropout(torch.ones(100), 0.3)
    assert torch.equal(found, expected) and not torch.equal(ours, expected)


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_but_for_its_dropout_is_torchs(mask, scale):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 8)
    seen = torch.rand(2, 1, 1, 7) < 0.7
    seen[..., 0] = True
    mask = {None: None, "bool": seen, "float": torch.where(seen, 0.0, -torch.inf)}[mask]
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    with quick_dropout(CPU):
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=1e-9, scale=scale)
        many = [F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=0.2, scale=scale) for _ in range(2000)]
    torch.testing.assert_close(found, expected)
    assert not torch.equal(many[0], many[1])
    assert (torch.stack(many).mean(0) - expected).abs().max() < 0.1


def test_gradient_checkpointing_drops_the_same_values_when_it_goes_forward_again():
    layer = nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5))
    values = torch.randn(30, 20)

    def gradient(run) -> torch.Tensor:
        layer.zero_grad()
        torch.manual_seed(5)
        with quick_dropout(CPU):
            run().square().sum().backward()
        return layer[0].weight.grad.clone()

    plain = gradient(lambda: layer(values))
    torch.testing.assert_close(gradient(lambda: checkpoint(layer, values, use_reentrant=False)), plain)
