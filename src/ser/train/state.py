"""What a fold is trained on, how far it has come, how large a step's batches are (for one process or several), and the numbers of each
step: a loss that isn't finite ends the training here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ser.data.inputs import Store
from ser.runtime.errors import UserError
from ser.runtime.team import Team


@dataclass
class FoldData:
    """The clips of one model. Rows index labels and the store alike; without valid_rows nothing judges it, and its last epoch is kept.

    epochs: where training ends; None for train.epochs. votes: (clips of the table, labels), what is learnt instead of labels where several
    annotators were asked; clear: bool, which clips have a majority to be judged by.
    """

    store: Store
    labels: np.ndarray
    train_rows: np.ndarray
    valid_rows: np.ndarray
    seed: int
    epochs: int | None = None
    votes: np.ndarray | None = None
    clear: np.ndarray | None = None

    @property
    def judging_rows(self) -> np.ndarray:
        """The validation clips that have a label to be judged by."""
        return self.valid_rows if self.clear is None else self.valid_rows[self.clear[self.valid_rows]]


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
    waited: float = 0.0
    memory_retries: list[str] = field(default_factory=list)
    scaler: dict | None = None
    precisions: list[str] = field(default_factory=list)

    def share_batches(self, processes: int) -> None:
        """Cut the clips of an optimizer step into as many batches for each process, none larger than it was."""
        effective = self.batch_size * self.accumulation
        count = processes * -(-effective // (processes * self.batch_size))
        self.batch_size = -(-effective // count)
        self.accumulation = -(-effective // self.batch_size)

    def begin_next_epoch(self) -> None:
        self.epoch += 1
        self.step, self.loss_sum, self.correct, self.clips, self.seconds, self.waited = 0, 0.0, 0, 0, 0.0, 0.0


@dataclass
class StepNumbers:
    """Loss, hits and gradient norm of one optimizer step, still on the device: reading them waits for it."""

    epoch: int
    step: int
    global_step: int
    clips: int
    rates: dict[str, float]
    seconds: float = 0.0
    waited: float = 0.0
    losses: list[torch.Tensor] = field(default_factory=list)
    hits: list[torch.Tensor] = field(default_factory=list)
    gradient_norm: torch.Tensor | None = None

    def add(self, loss: torch.Tensor, hits: torch.Tensor) -> None:
        """A batch's summed loss and number of hits."""
        self.losses.append(loss.detach())
        self.hits.append(hits)

    def sum_up(self, team: Team, device: torch.device) -> None:
        """Loss and hits of the step's clips in all processes."""
        if team.size > 1:
            nothing = torch.zeros((), device=device)  # a group may have fewer batches than there are processes
            own = [sum(numbers, nothing).float() for numbers in (self.losses, self.hits)]
            loss, hits = team.sum(torch.stack(own)).unbind()
            self.losses, self.hits = [loss], [hits]

    def read(self) -> tuple[float, int, float]:
        """The step's summed loss, correct clips and gradient norm, in one wait. Raises UserError where the loss isn't finite."""
        *numbers, norm = torch.stack([number.float() for number in (*self.losses, *self.hits, self.gradient_norm)]).tolist()
        loss, hits = sum(numbers[: len(self.losses)]), int(sum(numbers[len(self.losses) :]))
        if not np.isfinite(loss):
            raise UserError(
                f"the loss became {loss} in epoch {self.epoch}, step {self.step}. Try a lower train.learning_rate and "
                "train.head_learning_rate, more train.warmup, or train.precision fp32."
            )
        return loss, hits, norm

    def told(self, loss: float, hits: int, norm: float) -> dict[str, float]:
        """What is shown and tracked of the step, by name."""
        rates = {f"{part}_lr": rate for part, rate in self.rates.items()}
        speed = self.clips / max(self.seconds, 1e-9)
        return {"loss": loss / self.clips, "accuracy": hits / self.clips, "gradient_norm": norm, "clips_per_second": speed} | rates
