"""The training loop of one fold: its epochs and each optimizer step (gradients summed, clipped, applied), from its last checkpoint to its
best epoch.

Everything random is seeded by name just before it happens (weights by fold, order by epoch, augmentation by
clip, dropout by batch), so the loop has no random state to carry: an interrupted run continues into the
same numbers as one that was never interrupted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import torch
from accelerate.utils import release_memory

from ser.config import Config
from ser.data.inputs import Store
from ser.inference.forward import predict_probabilities
from ser.models.base import SerModel
from ser.runtime.device import make_accelerator, precision_here
from ser.runtime.errors import UserError
from ser.runtime.progress import say
from ser.runtime.seeds import seed_of
from ser.runtime.team import ALONE, Team
from ser.scoring.metrics import quick_scores
from ser.train.artefacts import history_row, timing_row
from ser.train.averaging import Averaging
from ser.train.best_epoch import BestEpoch
from ser.train.checkpoint import Checkpoints
from ser.train.hooks import Hook, Saving, Showing, Stopping
from ser.train.loading import GroupLoader, ended_workers_are_told
from ser.train.memory import MemoryErrors, no_second_try
from ser.train.objective import Objective
from ser.train.optimizer import build_optimizer, rate_factor, set_rates, warmup_steps
from ser.train.precision import precision_of
from ser.train.quick_convolutions import quick_convolutions
from ser.train.quick_dropout import quick_dropout
from ser.train.signals import Stopper
from ser.train.state import FoldData, Progress, StepNumbers


class Trainer:
    """Trains one fold. `fit` is the loop, `_optimizer_step` its body; `hooks` are called around it, in their order."""

    def __init__(
        self,
        model: SerModel,
        data: FoldData,
        config: Config,
        checkpoints: Checkpoints,
        stopper: Stopper,
        hooks: tuple[Hook, ...] = (),
        title: str = "",
        team: Team = ALONE,
    ):
        """hooks: called besides the loop's own (tracking); title: what messages and the progress bar call the fold.

        team: the processes that train it together: each computes its share of every step, the leading one writes and tells.
        """
        self.precision = precision_here(precision_of(config))
        self.accelerator = make_accelerator(self.precision)
        self.model = model.to(self.accelerator.device)
        self.data, self.config, self.title, self.team = data, config, title, team
        self.last_epoch = data.epochs or config.train.epochs
        self.checkpoints, self.stopper = checkpoints, stopper
        self.loader = GroupLoader(data, model, config, team)
        self.objective = Objective(data.labels[data.train_rows], len(model.label_names), config.train, self.accelerator.device)
        self.optimizer = build_optimizer(model, config.train)
        self.prepared_optimizer = self.accelerator.prepare(self.optimizer)
        self.memory, saving = MemoryErrors(), Saving(checkpoints, stopper)
        self.stopping = Stopping(stopper, saving)
        average = config.train.average
        self.averaging = None if average is None else Averaging(self.model, average, config.train.epochs)
        first = [] if self.averaging is None else [self.averaging]  # before a checkpoint is written
        self.hooks = [*first, self.memory, saving, self.stopping, BestEpoch(checkpoints), *hooks, Showing()]
        if not team.leads:
            self.hooks = [hook for hook in self.hooks if not isinstance(hook, Saving | Showing)]
        self.half_updated = False
        self.unread: StepNumbers | None = None

    @property
    def average_network(self) -> torch.nn.Module | None:
        """The mean of the weights, where `train.average` asks for it."""
        return None if self.averaging is None else self.averaging.network

    @property
    def judged(self) -> SerModel:
        """The network of which the validation part tells how good it is."""
        return self.model if self.averaging is None else self.averaging.of(self.model)

    def fit(self) -> Progress:
        """Train until the last epoch or until patience is used up; leaves the best epoch's weights in the model.

        Raises Interrupted (after writing a checkpoint) when the stopper says so.
        """
        progress = self._restore()
        try:
            self._tell("begin")
            while progress.epoch <= self.last_epoch and not any(hook.is_over(self) for hook in self.hooks):
                groups = self.loader.groups_of(progress.epoch)
                while progress.step < len(groups):  # once; again where memory was short, in smaller batches
                    self.model.train()
                    with self.memory.caught(), ended_workers_are_told(lambda: self.stopping.stop_if_asked(self)):
                        for group in self.loader.load(groups[progress.step :], progress.epoch, progress.batch_size):
                            self._optimizer_step(group)
                            self._tell("after_step", len(group))
                    self.memory.recover(self, groups[progress.step :])
                self._tell("after_epoch", self._judge_epoch())
                progress.begin_next_epoch()
            self._tell("end")
        finally:
            self._tell("close")
        return progress

    def _optimizer_step(self, group: list[int]) -> None:
        """Forward and backward for each batch of the group, then one update of the weights."""
        started, progress, device = time.monotonic(), self.progress, self.accelerator.device
        factor = rate_factor(progress.global_step, self.total_steps, self.warmup, self.config.train.schedule)
        numbers = StepNumbers(progress.epoch, progress.step, progress.global_step + 1, len(group), set_rates(self.optimizer, factor))
        self.prepared_optimizer.zero_grad()
        self.loader.waited = 0.0
        for place, rows, batch in self.loader.batches(group):
            with quick_dropout(device), quick_convolutions(device):
                loss, hits = self._forward(rows, batch, seed_of(self.data.seed, "batch", progress.epoch, progress.step, place))
                self.accelerator.backward(loss / len(group))
            numbers.add(loss, hits)
        self.team.sum_gradients(self.model)
        numbers.sum_up(self.team, device)
        numbers.gradient_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.train.clip_norm)
        self.read_numbers()  # those of the step before: the device has this one to do meanwhile
        self.half_updated = True
        with no_second_try():
            self.prepared_optimizer.step()
        progress.step += 1
        progress.global_step += 1
        numbers.seconds, numbers.waited = time.monotonic() - started, self.loader.waited
        self.unread = numbers
        self.half_updated = False

    def _forward(self, rows: np.ndarray, batch: dict[str, torch.Tensor], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss of a batch, and how many of its clips are right; both on the device."""
        seed_everything(seed)
        device = self.accelerator.device
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        known = self.data.labels if self.data.votes is None else self.data.votes
        batch, targets = self.objective.mix(batch, self.objective.targets(torch.as_tensor(known[rows], device=device)), seed)
        with self.accelerator.autocast():
            logits = self.model(**batch)
        return self.objective.loss_sum(logits, targets), self.objective.hits(logits, targets)

    def read_numbers(self) -> None:
        """Add the last step's loss and hits to the progress, once the device has them. Raises UserError where the loss isn't finite."""
        if self.unread is None:
            return
        progress, numbers = self.progress, self.unread
        loss, hits, norm = numbers.read()
        self.half_updated = True
        progress.loss_sum += loss
        progress.correct += hits
        progress.clips += numbers.clips
        progress.seconds += numbers.seconds
        progress.waited += numbers.waited
        self.unread = None
        self.half_updated = False
        self._tell("after_numbers", numbers.told(loss, hits, norm))

    def _judge_epoch(self) -> dict:
        """The epoch's row of history.csv, with scores on the validation part, where there is one."""
        self.read_numbers()
        self._tell("before_judging")
        progress, started = self.progress, time.monotonic()
        rows, scores = self.data.judging_rows, None
        if len(rows):
            stop_if_asked = lambda: self.stopping.stop_if_asked(self)  # noqa: E731
            probabilities = self.predict(self.data.store, rows, after_batch=stop_if_asked, model=self.judged)
            if not np.isfinite(probabilities).all():
                raise UserError(
                    f"{self.title}: the network's answers to the validation part aren't finite in epoch {progress.epoch}. A lower "
                    "--train.learning_rate may help, or --train.precision fp32; if it reads cached outputs, delete the cache (data.cache)."
                )
            scores = quick_scores(self.data.labels[rows], probabilities)
        factor = rate_factor(max(0, progress.global_step - 1), self.total_steps, self.warmup, self.config.train.schedule)
        loss, accuracy = progress.loss_sum / progress.clips, progress.correct / progress.clips
        row = history_row(progress.epoch, loss, accuracy, scores, set_rates(self.optimizer, factor))
        seconds = time.monotonic() - started
        progress.history.append(row)
        device, waited = self.accelerator.device, progress.waited
        progress.timing.append(timing_row(progress.epoch, progress.clips, progress.seconds, seconds, device, waited))
        return row

    def predict(
        self,
        store: Store,
        rows: np.ndarray,
        title: str | None = None,
        after_batch: Callable[[], None] | None = None,
        model: SerModel | None = None,
    ) -> np.ndarray:
        """Probabilities (len(rows), labels) of clips of a store; in smaller batches where memory runs out and that is allowed.

        after_batch: by default raises Interrupted when the stopper says so. model: by default the trained one, after `fit` at its best.
        A team shares the clips, and each of its processes has the probabilities of all.
        """
        stop_if_asked = after_batch or self.stopper.check
        own = self.team.share(np.argsort(store.frames[rows], kind="stable")) if self.team.size > 1 else np.arange(len(rows))
        while True:
            size = self.progress.eval_batch_size
            with self.memory.smaller_predictions(self), ended_workers_are_told(stop_if_asked):
                workers = self.config.train.workers
                found = predict_probabilities(model or self.model, store, rows[own], size, self.accelerator, workers, title, stop_if_asked)
                return self.team.put_together(own, found, len(rows))
            release_memory()

    def _restore(self) -> Progress:
        """Where the last checkpoint stands, or the beginning."""
        train = self.config.train
        self.total_steps = len(self.loader.groups_of(1)) * train.epochs
        self.warmup = warmup_steps(train, self.total_steps)
        self.progress = Progress(train.batch_size, train.accumulation, train.eval_batch_size)
        with self.team.leader_first():
            state, messages = self.checkpoints.restore(self.model, self.optimizer, self.average_network)
        self.team.same_weights(self.model)
        for message in messages:
            say(message)
        if state is not None:
            self.progress = Progress(**{name: state[name] for name in Progress.__dataclass_fields__ if name in state})
            if self.progress.scaler and self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(self.progress.scaler)
            say(f"{self.title}: going on from epoch {self.progress.epoch}, step {self.progress.step}")
        if (before := self.progress.precisions[-1:]) != [self.precision]:
            self.progress.precisions.append(self.precision)
            if before:
                say(f"{self.title}: begun in {before[0]}, it goes on in {self.precision}: that is train.precision auto on this machine")
        if self.team.size > 1:
            self.progress.share_batches(self.team.size)
        return self.progress

    def _tell(self, moment: str, *what: object) -> None:
        for hook in self.hooks:
            getattr(hook, moment)(self, *what)


def seed_everything(seed: int) -> None:
    """Seed torch (dropout, layer drop), numpy (transformers' SpecAugment) and random."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - transformers' SpecAugment draws from the global state
    torch.manual_seed(seed)
