"""Out of memory in training: the batch is halved where that is allowed, else the message names it and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from accelerate.utils import release_memory

from ser.data.batches import row_of
from ser.inference.forward import BatchTooLarge
from ser.runtime.errors import UserError, is_out_of_memory
from ser.runtime.progress import say
from ser.train.hooks import Hook

if TYPE_CHECKING:
    from ser.train.loop import Trainer


class MemoryErrors(Hook):
    """Halves the batch and doubles the accumulation, so that the effective batch stays; remembers it in the progress."""

    reason: str | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Around forward and backward passes: a lack of memory is remembered for `recover`, which has to follow.

        Not here, nor in any `except`: until it is over, the error keeps the batch in memory.
        """
        self.reason = None
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.reason = str(error)

    def recover(self, trainer: Trainer, groups: list[list[int]]) -> None:
        """After a lack of memory in the first of the groups left: smaller batches from now on. Else nothing.

        Raises UserError where halving isn't allowed or wouldn't help.
        """
        if self.reason is None:
            return
        trainer.optimizer.zero_grad(set_to_none=True)
        release_memory()
        progress, store = trainer.progress, trainer.data.store
        size, effective = progress.batch_size, trainer.loader.group_size
        longest = store.longest(row_of(np.array(groups[0]), len(store.frames)))
        what = f"out of memory at train.batch_size {size} with clips of up to {longest} (epoch {progress.epoch}, step {progress.step})"
        if not _may_halve(trainer, size):
            raise UserError(_advice(what, self.reason, size, effective))
        progress.batch_size, progress.accumulation = size // 2, -(-effective // (size // 2))
        _note(trainer, f"{what}: going on with batch_size {size // 2}; the effective batch stays {effective}")

    @contextmanager
    def smaller_predictions(self, trainer: Trainer) -> Iterator[None]:
        """Around a prediction: where its batch was too large, the next try takes half of it. Its caller releases the memory."""
        size = trainer.progress.eval_batch_size
        try:
            yield
        except BatchTooLarge as error:
            if not _may_halve(trainer, size):
                raise
            trainer.progress.eval_batch_size = size // 2
            _note(trainer, f"{str(error).partition('. ')[0]}: going on with eval_batch_size {size // 2}")


@contextmanager
def no_second_try() -> Iterator[None]:
    """Around the update: a part of the weights may be updated already when memory runs out, so this step can't be tried again."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory when updating the weights ({error}), which a smaller batch doesn't help: AdamW keeps two numbers for "
            "each trained weight. Train fewer of them (model.freeze, model.train_last_layers) or take a smaller model."
        ) from None


def _may_halve(trainer: Trainer, size: int) -> bool:
    # Not in a team: the other processes are at another place, and would wait for ever for what this one does again.
    return trainer.config.run.on_out_of_memory == "halve" and size > 1 and trainer.team.size == 1


def _advice(what: str, reason: str, size: int, effective: int) -> str:
    half = size // 2
    return (
        f"{what}: {' '.join(reason.split())[:300]}\n"
        + ("The same command with --run.on_out_of_memory halve goes on with smaller batches. " if half else "")
        + "Settings that need less memory, for a new start with --run.start_over true: "
        + (f"--train.batch_size {half} --train.accumulation {-(-effective // half)}, " if half else "")
        + "--model.gradient_checkpointing true, --train.precision bf16, a smaller --data.max_seconds."
    )


def _note(trainer: Trainer, text: str) -> None:
    trainer.progress.memory_retries.append(text)
    say(f"{trainer.title}: {text}")
