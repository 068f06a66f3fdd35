"""What goes on around training besides training: when checkpoints are written, history and W&B told, a stop looked for. The loop calls
every hook of its list in order."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ser.runtime.errors import Interrupted
from ser.runtime.progress import ProgressBar, say
from ser.train.checkpoint import Checkpoints
from ser.train.signals import Stopper

if TYPE_CHECKING:
    from ser.train.loop import Trainer
    from ser.train.tracking import Tracker

LARGEST_SHARE = 0.02
"""Of the training time, for checkpoints by the minute."""


class Hook:
    """Does nothing; a hook overrides the moments it is for."""

    def begin(self, trainer: Trainer) -> None:
        """Before the first step, with the progress as it was restored."""

    def after_step(self, trainer: Trainer, clips: int) -> None:
        """After an optimizer step of so many clips. Its numbers may still be on the device."""

    def after_numbers(self, trainer: Trainer, numbers: dict[str, float]) -> None:
        """When the numbers of a step have been read from the device, as a rule while the next one is on its way."""

    def before_judging(self, trainer: Trainer) -> None:
        """After the last step of an epoch; once more where judging it was interrupted."""

    def after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """After an epoch was judged; row: its line of history.csv."""

    def is_over(self, trainer: Trainer) -> bool:
        """Whether training ends here."""
        return False

    def end(self, trainer: Trainer) -> None:
        """After the last epoch."""

    def close(self, trainer: Trainer) -> None:
        """In any case at last, also after an error."""


class Saving(Hook):
    """Checkpoints by steps, by minutes, and when training is over: what is left to do (predictions) can be long, too."""

    def __init__(self, checkpoints: Checkpoints, stopper: Stopper):
        self.checkpoints, self.stopper = checkpoints, stopper
        self.last_saved, self.save_seconds = time.monotonic(), 0.0

    def begin(self, trainer: Trainer) -> None:
        self.last_saved = time.monotonic()

    def after_step(self, trainer: Trainer, clips: int) -> None:
        run = trainer.config.run
        by_steps = run.checkpoint_steps is not None and trainer.progress.global_step % run.checkpoint_steps == 0
        # On a slow disk rarer, so that checkpoints never cost more than LARGEST_SHARE of the time.
        interval = max(60 * run.checkpoint_minutes, self.save_seconds / LARGEST_SHARE)
        if by_steps or time.monotonic() - self.last_saved >= interval:
            self.save(trainer)

    def end(self, trainer: Trainer) -> None:
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint, of numbers that are all read and finite."""
        started = time.monotonic()
        trainer.read_numbers()
        scaler = trainer.accelerator.scaler
        trainer.progress.scaler = scaler.state_dict() if scaler is not None else None
        with self.stopper.unhurried():
            self.checkpoints.save(trainer.model, trainer.optimizer, asdict(trainer.progress), trainer.average_network)
        self.last_saved = time.monotonic()
        self.save_seconds = self.last_saved - started
        self.stopper.margin = max(self.stopper.margin, 2 * self.save_seconds)


class Stopping(Hook):
    """Leaves, with a checkpoint, when a signal or the end of the time budget asks for it."""

    def __init__(self, stopper: Stopper, saving: Saving):
        self.stopper, self.saving = stopper, saving

    def after_step(self, trainer: Trainer, clips: int) -> None:
        self.stop_if_asked(trainer)

    def stop_if_asked(self, trainer: Trainer) -> None:
        """Raise Interrupted when there is a reason to."""
        if (reason := self.stopper.reason) is None:
            return
        where = "going on from the last checkpoint"
        # An ended loader worker is reported at any moment, even in the middle of an update, which is no state to keep.
        if not trainer.half_updated:
            self.saving.save(trainer)
            where = f"saved at epoch {trainer.progress.epoch}, step {trainer.progress.step}"
        raise Interrupted(f"{reason}. {trainer.title}: {where}; run the same command again to go on.")


class Tracking(Hook):
    """Hands every step's and every epoch's numbers to W&B."""

    def __init__(self, tracker: Tracker):
        self.tracker = tracker

    def after_numbers(self, trainer: Trainer, numbers: dict[str, float]) -> None:
        self.tracker.log({f"step/{name}": value for name, value in numbers.items()}, trainer.progress.global_step)

    def after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        self.tracker.log(row, trainer.progress.global_step)


class Showing(Hook):
    """A bar over all epochs, and a line after each."""

    bar: ProgressBar | None = None

    def begin(self, trainer: Trainer) -> None:
        clips, progress = len(trainer.data.train_rows), trainer.progress
        done = (progress.epoch - 1) * clips + progress.clips
        self.bar = ProgressBar(what=trainer.title, total=trainer.last_epoch * clips, initial=done, delay=0)

    def after_step(self, trainer: Trainer, clips: int) -> None:
        self.bar.update(clips)

    def close(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self.bar.close()

    def after_numbers(self, trainer: Trainer, numbers: dict[str, float]) -> None:
        progress = trainer.progress
        loss, accuracy = progress.loss_sum / progress.clips, progress.correct / progress.clips
        self.bar.set_postfix(epoch=progress.epoch, loss=loss, acc=accuracy, refresh=False)

    def after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        progress, timing, judged = trainer.progress, trainer.progress.timing[-1], ""
        if "valid_loss" in row:
            judged = f"  valid loss {row['valid_loss']:.3f} acc {row['valid_accuracy']:.3f} F1 {row['valid_macro_f1']:.3f}"
        waited, waiting = timing["waiting_seconds"] / max(timing["train_seconds"], 1e-9), ""
        if waited > 0.1 and trainer.accelerator.device.type == "cuda":
            waiting = f" ({waited:.0%} of the time waiting for clips: --train.workers)"
        say(
            f"{trainer.title} epoch {row['epoch']:3d}/{trainer.last_epoch}"
            f"  train loss {row['train_loss']:.3f} acc {row['train_accuracy']:.3f}{judged}"
            f"  {timing['clips_per_second']:.0f} clips/s{waiting}{'  best' if row['epoch'] == progress.best_epoch else ''}"
        )
