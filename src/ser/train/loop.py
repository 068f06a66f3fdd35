"""The training loop of one fold, from its last checkpoint to its best epoch.

Everything random is seeded by name just before it happens (weights by fold, order by epoch, augmentation by
clip, dropout by batch), so the loop has no random state to carry: an interrupted run continues into the
same numbers as one that was never interrupted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from accelerate.utils import release_memory
from tqdm import tqdm

from ser.config import Config
from ser.data.augmentation import Augmenter
from ser.data.batches import PreparedClips, balanced_draws, load_batches, row_of, training_groups
from ser.data.inputs import Store
from ser.inference.prediction import BatchTooLarge, predict_probabilities
from ser.models.base import SerModel
from ser.runtime.device import make_accelerator, peak_memory_mb
from ser.runtime.errors import Interrupted, UserError, is_out_of_memory
from ser.runtime.seeds import seed_of
from ser.scoring.metrics import quick_scores, selection_value
from ser.train.checkpoint import Checkpoints
from ser.train.objective import Objective
from ser.train.optimizer import build_optimizer, rate_factor, set_rates, warmup_steps
from ser.train.signals import Stopper

LARGEST_SHARE = 0.02
"""Of the training time, for checkpoints by the minute."""


@dataclass
class FoldData:
    """The clips of one fold. Rows index labels and the store alike."""

    store: Store
    labels: np.ndarray
    train_rows: np.ndarray
    valid_rows: np.ndarray
    seed: int


@dataclass
class Progress:
    """How far a fold has come: all that a checkpoint holds besides tensors."""

    batch_size: int
    accumulation: int
    eval_batch_size: int
    epoch: int = 1
    step: int = 0
    global_step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    clips: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    history: list[dict] = field(default_factory=list)
    timing: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    memory_retries: list[str] = field(default_factory=list)
    scaler: dict | None = None

    def is_over(self, config: Config) -> bool:
        patience = config.train.early_stopping
        return self.epoch > config.train.epochs or bool(patience and self.epoch - 1 - self.best_epoch >= patience)


class Trainer:
    """Trains one fold; `fit` is the list of steps."""

    def __init__(
        self,
        model: SerModel,
        data: FoldData,
        config: Config,
        checkpoints: Checkpoints,
        stopper: Stopper,
        on_epoch: Callable[[dict], None] = lambda row: None,
        title: str = "",
    ):
        """on_epoch: called with every finished epoch's history row (tracking); title: shown at the progress bar."""
        self.accelerator = make_accelerator(config.train.precision)
        self.model = model.to(self.accelerator.device)
        self.data, self.config, self.train = data, config, config.train
        self.checkpoints, self.stopper, self.on_epoch, self.title = checkpoints, stopper, on_epoch, title
        self.optimizer = build_optimizer(model, self.train)
        self.prepared_optimizer = self.accelerator.prepare(self.optimizer)
        self.objective = Objective(data.labels[data.train_rows], len(model.label_names), self.train, self.accelerator.device)
        self.augmenter = Augmenter(config.augment)
        self.group_size = self.train.batch_size * self.train.accumulation
        self.last_saved, self.save_seconds = time.monotonic(), 0.0
        self.half_updated = False

    def fit(self) -> Progress:
        """Train until the last epoch or early stopping; leaves the best epoch's weights in the model.

        Raises Interrupted (after writing a checkpoint) when the stopper says so.
        """
        self.progress = self._restore()
        steps_per_epoch = len(self._groups(1))
        self.total_steps = steps_per_epoch * self.train.epochs
        self.warmup = warmup_steps(self.train, self.total_steps)
        clips_before = (self.progress.epoch - 1) * len(self.data.train_rows) + self.progress.clips
        with tqdm(
            total=self.train.epochs * len(self.data.train_rows),
            initial=clips_before,
            unit="clip",
            desc=self.title,
            disable=None,
            leave=False,
        ) as self.bar:
            while not self.progress.is_over(self.config):
                self._train_epoch()
                self._finish_epoch()
        self._save()  # what is left to do (predictions) can be long, too
        self.checkpoints.load_best(self.model, self.progress.best_epoch)
        return self.progress

    def _restore(self) -> Progress:
        state, messages = self.checkpoints.restore(self.model, self.optimizer)
        for message in messages:
            tqdm.write(message)
        if state is None:
            return Progress(self.train.batch_size, self.train.accumulation, self.train.eval_batch_size)
        progress = Progress(**{name: state[name] for name in Progress.__dataclass_fields__})
        if progress.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(progress.scaler)
        tqdm.write(f"{self.title}: going on from epoch {progress.epoch}, step {progress.step}")
        return progress

    def _groups(self, epoch: int) -> list[list[int]]:
        rows = self.data.train_rows
        if self.train.sampler == "balanced":
            rows = balanced_draws(self.data.labels, rows, seed_of(self.data.seed, "draws", epoch))
        return training_groups(self.data.store.frames, rows, self.group_size, seed_of(self.data.seed, "order", epoch))

    def _train_epoch(self) -> None:
        """The rest of the current epoch; after a lack of memory, the same step again in smaller batches."""
        groups = self._groups(self.progress.epoch)
        while self.progress.step < len(groups):
            try:
                with self._loader_errors(self._stop_if_asked):
                    self._run_groups(groups[self.progress.step :])
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            # Not inside `except`: until its end, the error keeps the batch in memory.
            self._after_memory_error(groups[self.progress.step], reason)

    @staticmethod
    @contextmanager
    def _loader_errors(stop_if_asked: Callable[[], None]) -> Iterator[None]:
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

    def _run_groups(self, groups: list[list[int]]) -> None:
        size = self.progress.batch_size
        batches = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
        clips = PreparedClips(self.data.store, self.model.frontend, self.augmenter, self.data.seed, self.progress.epoch)
        # No local variable: an exception would keep it, and with it the workers, until Python ends.
        self.batches = iter(load_batches(clips, batches, self.train.workers))
        self.model.train()
        try:
            for group in groups:
                started = time.monotonic()
                self._optimizer_step(group)
                self.progress.seconds += time.monotonic() - started
                self._checkpoint_if_due()
                self._stop_if_asked()
        finally:
            self.batches = None

    def _optimizer_step(self, group: list[int]) -> None:
        progress = self.progress
        set_rates(self.optimizer, rate_factor(progress.global_step, self.total_steps, self.warmup, self.train.schedule))
        self.prepared_optimizer.zero_grad()
        loss_sum, correct = 0.0, 0
        for start in range(0, len(group), progress.batch_size):
            rows, batch = next(self.batches)
            seed = seed_of(self.data.seed, "batch", progress.epoch, progress.step, start)
            loss, hits = self._forward_backward(rows, batch, len(group), seed)
            loss_sum, correct = loss_sum + loss, correct + hits
        if not np.isfinite(loss_sum):
            raise UserError(
                f"the loss became {loss_sum} in epoch {progress.epoch}, step {progress.step}. Try a lower train.learning_rate and "
                "train.head_learning_rate, more train.warmup, or train.precision fp32."
            )
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
        self.half_updated = True
        self._update_weights()
        progress.loss_sum += loss_sum
        progress.correct += correct
        progress.clips += len(group)
        progress.step += 1
        progress.global_step += 1
        self.half_updated = False
        self.bar.update(len(group))
        self.bar.set_postfix(
            epoch=progress.epoch, loss=progress.loss_sum / progress.clips, acc=progress.correct / progress.clips, refresh=False
        )

    def _update_weights(self) -> None:
        try:
            self.prepared_optimizer.step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # A part of the weights may be updated already, so this step can't be tried again.
            raise UserError(
                f"out of memory when updating the weights ({error}), which a smaller batch doesn't help: AdamW keeps two numbers for "
                "each trained weight. Train fewer of them (model.freeze, model.train_last_layers) or take a smaller model."
            ) from None

    def _forward_backward(self, rows: np.ndarray, batch: dict, group_clips: int, seed: int) -> tuple[float, int]:
        """One batch of a step. Returns its summed loss and the number of clips it got right."""
        seed_everything(seed)
        device = self.accelerator.device
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        labels = torch.as_tensor(self.data.labels[rows], device=device)
        batch, targets = self.objective.mix(batch, self.objective.targets(labels), seed)
        with self.accelerator.autocast():
            logits = self.model(**batch)
        loss = self.objective.loss_sum(logits, targets)
        self.accelerator.backward(loss / group_clips)
        return float(loss.detach()), int((logits.argmax(-1) == targets.argmax(-1)).sum())

    def _finish_epoch(self) -> None:
        """Judge the epoch on the validation part, keep it if it is the best, and start the next."""
        progress, started = self.progress, time.monotonic()
        probabilities = self.predict(self.data.store, self.data.valid_rows, after_batch=self._stop_if_asked)
        scores = quick_scores(self.data.labels[self.data.valid_rows], probabilities)
        factor = rate_factor(max(0, progress.global_step - 1), self.total_steps, self.warmup, self.train.schedule)
        rates = set_rates(self.optimizer, factor)
        row = {
            "epoch": progress.epoch,
            "train_loss": progress.loss_sum / progress.clips,
            "train_accuracy": progress.correct / progress.clips,
            "valid_loss": scores["log_loss"],
            "valid_accuracy": scores["accuracy"],
            "valid_macro_f1": scores["macro_f1"],
            "valid_uar": scores["uar"],
            "encoder_lr": rates.get("encoder", 0.0),
            "head_lr": rates.get("head", 0.0),
        }
        progress.history.append(row)
        progress.timing.append(
            {
                "epoch": progress.epoch,
                "train_seconds": progress.seconds,
                "valid_seconds": time.monotonic() - started,
                "clips_per_second": progress.clips / max(progress.seconds, 1e-9),
                "peak_memory_mb": peak_memory_mb(self.accelerator.device),
            }
        )
        value = selection_value(self.train.metric, scores | {"loss": scores["log_loss"]})
        best = progress.best_value is None or value > progress.best_value + self.train.min_improvement
        if best:
            self.checkpoints.keep_best(self.model, progress.epoch)
            progress.best_epoch, progress.best_value = progress.epoch, float(value)
        self.on_epoch(row)
        tqdm.write(
            f"{self.title} epoch {progress.epoch:3d}/{self.train.epochs}"
            f"  train loss {row['train_loss']:.3f} acc {row['train_accuracy']:.3f}"
            f"  valid loss {row['valid_loss']:.3f} acc {row['valid_accuracy']:.3f} F1 {row['valid_macro_f1']:.3f}"
            f"  {progress.timing[-1]['clips_per_second']:.0f} clips/s{'  best' if best else ''}"
        )
        self.progress = replace(progress, epoch=progress.epoch + 1, step=0, loss_sum=0.0, correct=0, clips=0, seconds=0.0)

    def predict(
        self, store: Store, rows: np.ndarray, title: str | None = None, after_batch: Callable[[], None] | None = None
    ) -> np.ndarray:
        """Probabilities (len(rows), labels) of clips of a store; in smaller batches where memory runs out and that is allowed.

        after_batch: by default raises Interrupted when the stopper says so.
        """
        stop_if_asked = after_batch or self.stopper.check
        while True:
            size = self.progress.eval_batch_size
            try:
                with self._loader_errors(stop_if_asked):
                    return predict_probabilities(self.model, store, rows, size, self.accelerator, self.train.workers, title, stop_if_asked)
            except BatchTooLarge as error:
                if self.config.run.on_out_of_memory != "halve" or size == 1:
                    raise
                what = str(error).partition(". ")[0]
            release_memory()
            self.progress.eval_batch_size = size // 2
            self._note_memory(f"{what}: going on with eval_batch_size {size // 2}")

    def _checkpoint_if_due(self) -> None:
        every = self.config.run.checkpoint_steps
        by_steps = every is not None and self.progress.global_step % every == 0
        # On a slow disk rarer, so that checkpoints never cost more than LARGEST_SHARE of the time.
        interval = max(60 * self.config.run.checkpoint_minutes, self.save_seconds / LARGEST_SHARE)
        if by_steps or time.monotonic() - self.last_saved >= interval:
            self._save()

    def _save(self) -> None:
        started = time.monotonic()
        scaler = self.accelerator.scaler
        self.progress.scaler = scaler.state_dict() if scaler is not None else None
        self.checkpoints.save(self.model, self.optimizer, asdict(self.progress))
        self.last_saved = time.monotonic()
        self.save_seconds = self.last_saved - started
        self.stopper.margin = max(self.stopper.margin, 2 * self.save_seconds)

    def _stop_if_asked(self) -> None:
        if (reason := self.stopper.reason) is None:
            return
        where = "going on from the last checkpoint"
        # An ended loader worker is reported at any moment, even in the middle of an update, which is no state to keep.
        if not self.half_updated:
            self._save()
            where = f"saved at epoch {self.progress.epoch}, step {self.progress.step}"
        raise Interrupted(f"{reason}. {self.title}: {where}; run the same command again to go on.")

    def _after_memory_error(self, group: list[int], reason: str) -> None:
        """Halve the batch and double the accumulation where that is allowed; else say which batch did it."""
        self.optimizer.zero_grad(set_to_none=True)
        release_memory()
        size = self.progress.batch_size
        longest = self.data.store.longest(row_of(np.array(group), len(self.data.store.frames)))
        where = f"epoch {self.progress.epoch}, step {self.progress.step}"
        what = f"out of memory at train.batch_size {size} with clips of up to {longest} ({where})"
        if self.config.run.on_out_of_memory == "halve" and size > 1:
            self.progress.batch_size = size // 2
            self.progress.accumulation = -(-self.group_size // self.progress.batch_size)
            self._note_memory(f"{what}: going on with batch_size {size // 2}; the effective batch stays {self.group_size}")
            return
        raise UserError(
            f"{what}: {' '.join(reason.split())[:300]}\n"
            + ("The same command with --run.on_out_of_memory halve goes on with smaller batches. " if size > 1 else "")
            + "Settings that need less memory, for a new start with --run.start_over true: "
            + (f"--train.batch_size {size // 2} --train.accumulation {-(-self.group_size // (size // 2))}, " if size > 1 else "")
            + "--model.gradient_checkpointing true, --train.precision bf16, a smaller --data.max_seconds."
        )

    def _note_memory(self, text: str) -> None:
        self.progress.memory_retries.append(text)
        tqdm.write(f"{self.title}: {text}")


def seed_everything(seed: int) -> None:
    """Seed torch (dropout, layer drop), numpy (transformers' SpecAugment) and random."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - transformers' SpecAugment draws from the global state
    torch.manual_seed(seed)
