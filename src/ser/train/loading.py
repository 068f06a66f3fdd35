"""The batches of an epoch's groups, loaded and prepared ahead, across the borders of groups."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from ser.config import Config
from ser.data.augmentation import Augmenter
from ser.data.batches import PreparedClips, balanced_draws, load_batches, training_groups
from ser.models.base import SerModel
from ser.runtime.errors import UserError
from ser.runtime.seeds import seed_of
from ser.runtime.team import ALONE, Team
from ser.train.state import FoldData


class GroupLoader:
    """Groups of clips (one optimizer step each) and the batches they are cut into."""

    def __init__(self, data: FoldData, model: SerModel, config: Config, team: Team = ALONE):
        """team: of which this process loads its own batches."""
        self.data, self.train, self.frontend, self.team = data, config.train, model.frontend, team
        self.augmenter = Augmenter(config.augment, config.data.cache)
        self.group_size = config.train.batch_size * config.train.accumulation
        self.batch_size = config.train.batch_size
        self.waited = 0.0  # seconds, since it was last set to 0
        self._batches: Iterator | None = None

    def groups_of(self, epoch: int) -> list[list[int]]:
        """All groups of an epoch; the last of a pool may be smaller. Their order follows from fold and epoch alone."""
        rows, seed = self.data.train_rows, self.data.seed
        if self.train.sampler == "balanced":
            rows = balanced_draws(self.data.labels, rows, seed_of(seed, "draws", epoch))
        return training_groups(self.data.store.frames, rows, self.group_size, seed_of(seed, "order", epoch))

    def load(self, groups: list[list[int]], epoch: int, batch_size: int) -> Iterator[list[int]]:
        """The groups one by one, while their batches are loaded; each one's `batches` have to be taken before the next is asked for."""
        self.batch_size = batch_size
        batches = [group[place : place + batch_size] for group in groups for place in self._places(group)]
        clips = PreparedClips(self.data.store, self.frontend, self.augmenter, self.data.seed, epoch)
        # No local variable: the traceback of an exception would keep it, and with it the workers, until Python ends.
        self._batches = iter(load_batches(clips, batches, self.train.workers))
        try:
            yield from groups
        finally:
            self._batches = None

    def batches(self, group: list[int]) -> Iterator[tuple[int, np.ndarray, dict[str, torch.Tensor]]]:
        """This process's batches of a group: the place in it where each begins, the rows of its clips, the model's inputs."""
        for place in self._places(group):
            asked = time.monotonic()
            rows, inputs = next(self._batches)
            self.waited += time.monotonic() - asked
            yield place, rows, inputs

    def _places(self, group: list[int]) -> Sequence[int]:
        return self.team.share(range(0, len(group), self.batch_size))


@contextmanager
def ended_workers_are_told(stop_if_asked: Callable[[], None]) -> Iterator[None]:
    """What becomes of an ended loader worker: a stop where a signal to the whole process group ended it, else a message."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        time.sleep(0.2)  # the signal to this process may come a moment later
        stop_if_asked()
        raise UserError(
            f"a process that loads clips ended ({' '.join(str(error).split())}). Memory was probably short: try --train.workers 0, "
            "or give the machine more shared memory (docker run --shm-size 8g)."
        ) from None
