"""The mean of a network's weights along its training, which is judged and kept in place of the weights of the moment.

Izmailov et al. 2018 (arXiv 1803.05407) for the last epochs; the exponential mean is Polyak's. The running statistics of batch norms are
averaged, too, by torch's own `AveragedModel`; what is counted in whole numbers is taken as it is now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import AveragedModel

from ser.models.base import SerModel
from ser.train.hooks import Hook

if TYPE_CHECKING:
    from ser.train.loop import Trainer


class Averaging(Hook):
    """Takes a step's or an epoch's weights into the mean. It counts what is in it, so that a repeated epoch's end isn't taken twice."""

    def __init__(self, model: SerModel, average: int | float, epochs: int):
        """average: `train.average`. epochs: of the schedule, whose last ones are meant."""
        self.decay = float(average) if average < 1 else None
        self.first_epoch = 1 if self.decay else max(1, epochs - int(average) + 1)
        self.network = AveragedModel(model, multi_avg_fn=self._towards, use_buffers=True)

    def of(self, model: SerModel) -> SerModel:
        """What is judged and kept: the mean, where something is in it, else the model as it is."""
        return self.network.module if self.network.n_averaged > 0 else model

    def after_step(self, trainer: Trainer, clips: int) -> None:
        if self.decay:
            self.network.update_parameters(trainer.model)

    def before_judging(self, trainer: Trainer) -> None:
        if not self.decay and self.network.n_averaged < trainer.progress.epoch - self.first_epoch + 1:
            self.network.update_parameters(trainer.model)

    def _towards(self, mean: list[torch.Tensor], now: list[torch.Tensor], count: torch.Tensor) -> None:
        """One more in the mean. The exponential one goes far at first, so that the weights of the beginning are soon forgotten.

        count: how many are in it. (torch's own means fail on whole numbers.)
        """
        taken = float(count)
        kept = min(self.decay, (1 + taken) / (10 + taken)) if self.decay else taken / (taken + 1)
        for own, other in zip(mean, now, strict=True):
            own.lerp_(other, 1 - kept) if own.is_floating_point() else own.copy_(other)
