import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from ser.config import TrainConfig
from ser.train.objective import Objective, balanced_weights

LABELS = np.array([0, 0, 0, 0, 1, 1, 2])


def objective(**config):
    return Objective(LABELS, 3, TrainConfig(**config), torch.device("cpu"))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(7, 3), torch.as_tensor(LABELS)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_on_shares_of_votes_equals_torch(batch, smoothing):
    logits, _ = batch
    shares = torch.distributions.Dirichlet(torch.ones(3)).sample((7,))
    loss = objective(label_smoothing=smoothing)
    expected = functional.cross_entropy(logits, shares, label_smoothing=smoothing, reduction="sum")
    assert loss.loss_sum(logits, loss.targets(shares)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_equals_torch(batch, smoothing):
    logits, labels = batch
    loss = objective(label_smoothing=smoothing)
    expected = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
    assert loss.loss_sum(logits, loss.targets(labels)) == pytest.approx(float(expected), rel=1e-6)


def test_balanced_weights_equal_scikit_learn_and_have_mean_one_over_clips():
    weights = balanced_weights(LABELS, 3)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=LABELS))
    assert weights[LABELS].mean() == pytest.approx(1)


def test_a_label_without_clips_has_weight_zero_not_infinity():
    assert balanced_weights(LABELS, 4)[3] == 0


def test_weighted_loss_equals_torch(batch):
    logits, labels = batch
    loss = objective(class_weights="balanced")
    weights = torch.tensor(balanced_weights(LABELS, 3), dtype=torch.float32)
    expected = functional.cross_entropy(logits, labels, weight=weights, reduction="sum")
    assert loss.loss_sum(logits, loss.targets(labels)) == pytest.approx(float(expected), rel=1e-6)


def test_mixup_blends_inputs_and_targets_with_the_same_share_and_partner(batch):
    _, labels = batch
    loss = objective(mixup=0.4)
    targets = loss.targets(labels)
    # Inputs that carry their own target: after mixing they must still carry it.
    mixed, mixed_targets = loss.mix({"input_values": targets.clone()}, targets, seed=3)
    torch.testing.assert_close(mixed["input_values"], mixed_targets)
    assert not torch.equal(mixed_targets, targets)
    torch.testing.assert_close(mixed_targets.sum(-1), torch.ones(7))


def test_mixup_masks_cover_the_longer_clip(batch):
    _, labels = batch
    mask = torch.tril(torch.ones(7, 7, dtype=torch.long))
    mixed, _ = objective(mixup=0.4).mix({"attention_mask": mask}, objective().targets(labels), seed=1)
    assert (mixed["attention_mask"] >= mask).all()


def test_mixup_off_changes_nothing(batch):
    _, labels = batch
    inputs = {"input_values": torch.randn(7, 5)}
    mixed, targets = objective().mix(inputs, objective().targets(labels), seed=1)
    assert mixed is inputs
    assert torch.equal(targets, objective().targets(labels))


def test_focal_loss_is_the_papers_formula_and_off_is_cross_entropy(batch):
    logits, labels = batch
    plain, focal = objective(), objective(focal_gamma=2.0)
    right = torch.softmax(logits.double(), dim=1)[torch.arange(7), labels]
    expected = -((1 - right) ** 2 * torch.log(right)).sum()
    assert focal.loss_sum(logits, focal.targets(labels)) == pytest.approx(float(expected), rel=1e-5)
    assert plain.loss_sum(logits, plain.targets(labels)) == pytest.approx(float(-torch.log(right).sum()), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal_loss_has_a_finite_gradient_where_the_model_is_sure(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    loss = objective(focal_gamma=gamma)
    loss.loss_sum(logits, loss.targets(torch.tensor([0, 0]))).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0].abs().max() < 1e-3 < logits.grad[1].abs().max()
