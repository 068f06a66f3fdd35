"""Which epoch is kept, and when patience is used up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ser.scoring.metrics import selection_value
from ser.train.checkpoint import Checkpoints
from ser.train.hooks import Hook

if TYPE_CHECKING:
    from ser.train.loop import Trainer


class BestEpoch(Hook):
    """Keeps the weights of the best epoch, and ends training when patience is used up. Where nothing judges, the last epoch is kept."""

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints

    def after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        progress, train = trainer.progress, trainer.config.train
        named = {name.removeprefix("valid_"): value for name, value in row.items() if name.startswith("valid_")}
        value = selection_value(train.metric, named) if named else None
        if value is None or progress.best_value is None or value > progress.best_value + train.min_improvement:
            self.checkpoints.keep_best(trainer.judged, progress.epoch)
            progress.best_epoch, progress.best_value = progress.epoch, None if value is None else float(value)

    def is_over(self, trainer: Trainer) -> bool:
        progress, patience = trainer.progress, trainer.config.train.early_stopping
        return bool(patience) and progress.epoch - 1 - progress.best_epoch >= patience

    def end(self, trainer: Trainer) -> None:
        self.checkpoints.load_best(trainer.model, trainer.progress.best_epoch)
