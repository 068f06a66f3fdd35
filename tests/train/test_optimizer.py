import copy

import pytest
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from ser.config import TrainConfig
from ser.train.optimizer import build_optimizer, rate_factor, set_rates, warmup_steps


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.top = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2)

    def parameter_groups(self):
        named = list(self.named_parameters())
        return {"encoder": [p for p in named if not p[0].startswith("top")], "head": [p for p in named if p[0].startswith("top")]}


def test_head_and_encoder_have_their_own_rates_and_biases_and_norms_no_decay():
    optimizer = build_optimizer(TwoParts(), TrainConfig(learning_rate=1e-5, head_learning_rate=1e-3, weight_decay=0.1))
    seen = {name: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for name in group["names"]}
    assert seen == {
        "body.weight": (1e-5, 0.1),
        "body.bias": (1e-5, 0.0),
        "norm.weight": (1e-5, 0.0),
        "norm.bias": (1e-5, 0.0),
        "top.weight": (1e-3, 0.1),
        "top.bias": (1e-3, 0.0),
    }
    assert set_rates(optimizer, 0.5) == {"encoder": 5e-6, "head": 5e-4}


@pytest.mark.parametrize(("name", "reference"), [("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup)])
@pytest.mark.parametrize(("warmup", "total"), [(0, 7), (3, 10), (10, 100)])
def test_schedule_equals_transformers(name, reference, warmup, total):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = reference(optimizer, warmup, total)
    for step in range(total):
        assert rate_factor(step, total, warmup, name) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_warmup_never_takes_more_than_half_of_the_run():
    assert warmup_steps(TrainConfig(warmup_steps=1000), total_steps=60) == 30
    assert warmup_steps(TrainConfig(warmup=0.1), total_steps=60) == 6


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.top = nn.Linear(10, 6)

    def parameter_groups(self):
        return {"head": list(self.named_parameters())}


def test_the_fused_kernel_takes_the_steps_of_torchs_plain_adamw():
    torch.manual_seed(0)
    network, config = OneLayer(), TrainConfig()
    plain = copy.deepcopy(network)
    optimizer = build_optimizer(network, config)
    same = [{"params": [plain.top.weight], "weight_decay": config.weight_decay}, {"params": [plain.top.bias], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(same, foreach=False, fused=False)
    for factor in (0.1, 1.0, 0.5):
        rate = set_rates(optimizer, factor)["head"]
        states = torch.randn(4, 10)
        for model, chosen in ((network, optimizer), (plain, reference)):
            for group in chosen.param_groups:
                group["lr"] = rate
            chosen.zero_grad()
            model.top(states).square().sum().backward()
            chosen.step()
    assert all(group["fused"] for group in optimizer.param_groups)
    torch.testing.assert_close(network.state_dict(), plain.state_dict(), atol=1e-6, rtol=1e-5)
