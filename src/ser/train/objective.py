"""The loss: cross entropy on soft targets, with label smoothing, class weights, focal loss and mixup; binary where labels are several."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from ser.config import TrainConfig


def balanced_weights(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Inverse class frequencies, scaled so that their mean over the clips is one; a label without clips has weight 0."""
    counts = np.bincount(labels, minlength=n_labels)
    weights = np.zeros(n_labels)
    weights[counts > 0] = len(labels) / ((counts > 0).sum() * counts[counts > 0])
    return weights


class Objective:
    """Targets and loss of one fold.

    The loss is a sum over clips: the loop divides by the clips of the whole optimizer step, so that n
    accumulated batches give exactly the gradient of one batch n times the size.
    """

    def __init__(self, labels: np.ndarray, n_labels: int, config: TrainConfig, device: torch.device):
        """labels: (clips,) of the training part, which class weights are counted on; (clips, n_labels) where they may be several."""
        self.multi_label = labels.ndim == 2
        self.n_labels, self.smoothing, self.mixup = n_labels, config.label_smoothing, config.mixup
        self.focal_gamma = config.focal_gamma
        weights = balanced_weights(labels, n_labels) if config.class_weights == "balanced" else np.ones(n_labels)
        self.weights = torch.tensor(weights, dtype=torch.float32, device=device)

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """(B,) labels, (B, n_labels) shares of votes or several labels → (B, n_labels) probabilities to aim at."""
        known = functional.one_hot(labels, self.n_labels).float() if labels.ndim == 1 else labels.float()
        return known * (1 - self.smoothing) + self.smoothing / self.n_labels

    def loss_sum(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weighted cross entropy summed over the clips of the batch; logits and targets are (B, n_labels).

        Where a clip may have several labels: the mean over labels of each one's binary cross entropy.
        """
        if self.multi_label:
            return functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum") / self.n_labels
        logs = functional.log_softmax(logits.float(), dim=-1)
        terms = self.weights * targets * logs
        if self.focal_gamma:
            terms = terms * (1 - logs.exp()).clamp(min=1e-6) ** self.focal_gamma  # at 0 the slope of a small power is infinite
        return -terms.sum()

    def hits(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """How many clips of the batch are right; where labels are several: all of a clip's, at probability 0.5."""
        if self.multi_label:
            return ((logits > 0) == (targets > 0.5)).all(-1).sum()
        return (logits.argmax(-1) == targets.argmax(-1)).sum()

    def mix(self, batch: dict[str, torch.Tensor], targets: torch.Tensor, seed: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Mixup: blend every clip with another one of its batch; the mask covers the longer of the two."""
        if not self.mixup:
            return batch, targets
        rng = np.random.default_rng(seed)
        share = float(rng.beta(self.mixup, self.mixup))
        partner = torch.as_tensor(rng.permutation(len(targets)), device=targets.device)
        mixed = {
            name: torch.maximum(value, value[partner]) if "mask" in name else share * value + (1 - share) * value[partner]
            for name, value in batch.items()
        }
        return mixed, share * targets + (1 - share) * targets[partner]
