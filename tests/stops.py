"""Interrupting a fold on purpose. A module that uses it imports the fixture `steps_are_counted` too."""

from __future__ import annotations

import pytest

from ser.config import Config
from ser.errors import Interrupted
from ser.training.fold import train_fold
from ser.training.loop import Trainer
from ser.training.run import open_run
from ser.training.stopping import Stopper


class StopAfter(Stopper):
    """Asks to stop after so many optimizer steps, as a signal would."""

    def __init__(self, steps: int):
        super().__init__()
        self.left = steps

    @property
    def reason(self) -> str | None:
        return "enough steps" if self.left <= 0 else None


@pytest.fixture(autouse=True, scope="module")
def steps_are_counted():
    step = Trainer._optimizer_step

    def counted(trainer, *arguments):
        step(trainer, *arguments)
        if isinstance(trainer.stopper, StopAfter):
            trainer.stopper.left -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_optimizer_step", counted)
        yield


def train_in_pieces(config: Config, steps: int) -> int:
    """Train fold 0, interrupted after every so many steps; returns how often."""
    run, times = open_run(config), 0
    while True:
        try:
            train_fold(run, 0, StopAfter(steps))
            return times
        except Interrupted:
            times += 1
