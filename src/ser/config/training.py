"""Keys of the loop, of its tracking and of the run as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt

from ser.config.ranges import HalfOpenUnit, seconds_of


@dataclass
class TrainConfig:
    """Training: the loop."""

    epochs: PositiveInt = 10
    """Passes over the training clips."""
    batch_size: PositiveInt = 8
    """Clips in one forward pass."""
    accumulation: PositiveInt = 1
    """Forward passes per optimizer step; the effective batch is batch_size times this."""
    eval_batch_size: PositiveInt = 16
    """Clips in one forward pass without gradients."""
    learning_rate: PositiveFloat = 2e-5
    """Peak learning rate of the encoder."""
    head_learning_rate: PositiveFloat = 5e-4
    """Peak learning rate of the head and of layer weights."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's weight decay; biases and norms have none."""
    warmup: ClosedUnitInterval = 0.1
    """Share of the steps spent warming up."""
    warmup_steps: NonNegativeInt | None = None
    """Warm-up in steps instead of a share; capped at half of the run's steps."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after warm-up."""
    clip_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    label_smoothing: HalfOpenUnit = 0.0
    """Share of the target spread over all labels."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: weigh the loss by the inverse class frequency (mean weight over clips is one)."""
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    """shuffled: every clip once an epoch. balanced: every label equally often in an epoch of the same length; a rare label's clips come
    several times, augmented differently each time."""
    focal_gamma: NonNegativeFloat = 0.0
    """Focal loss (Lin et al. 2017, arXiv 1708.02002): the surer a clip's right answer, the less it counts; 0 is off, 2 is usual."""
    mixup: NonNegativeFloat = 0.0
    """Beta parameter of mixup (Zhang et al. 2018, arXiv 1710.09412); 0 is off."""
    augmented_copies: NonNegativeInt = 0
    """Models that are fitted in one go (model.kind classical, and a frozen encoder's solved head) learn from so many copies of each
    training clip beside it, augmented as the section augment says and made once. Networks trained by epochs need none: they hear each
    clip augmented anew in every epoch."""
    average: PositiveInt | OpenUnitInterval | None = None
    """Judge and keep a mean of the weights: a whole number: of so many last epochs; between 0 and 1, e.g. 0.99: the exponential mean, this
    much of it kept in each step. Off, as it brought nothing where it was measured (docs/last_points.md)."""
    early_stopping: NonNegativeInt = 0
    """Stop after this many epochs without improvement; 0 is off."""
    min_improvement: NonNegativeFloat = 0.0
    """What counts as an improvement of the metric."""
    metric: Literal["accuracy", "macro_f1", "uar", "loss"] = "accuracy"
    """Chooses the best epoch, on the fold's validation part."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the GPU has it; on a processor that computes in it (AVX-512 BF16, AMX) where a pretrained encoder is trained whose
    states have 512 values or more (1.7 times as fast there for Whisper base, 1.8 for wav2vec2-base); else fp32."""
    workers: NonNegativeInt = 0
    """Processes that load and augment clips. Results don't depend on it."""
    threads: NonNegativeInt = 0
    """CPU threads of torch; 0 leaves torch's choice."""


@dataclass
class TrackingConfig:
    """Tracking in Weights & Biases; the local files are the record, and are the same whatever it does."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online with an API key, offline without one."""
    project: str = "speech-emotion"
    """Project name."""
    entity: str | None = None
    """Team or user."""
    tags: list[str] = field(default_factory=list)
    """Tags of every run."""
    models: bool = False
    """Upload each fold's model as an artifact, too; that may take W&B up to an hour after the training."""


@dataclass
class RunConfig:
    """The run: where it goes, its seed, and what happens when it is interrupted."""

    output: str | None = None
    """Folder of the run; default outputs/<name of the --config file>, of several outputs/A+B."""
    seed: NonNegativeInt = 0
    """Everything random follows from it."""
    seeds: list[NonNegativeInt] = field(default_factory=list)
    """Train once for each of these seeds, on one split (that of run.seed, or cv.seed), into <output>/seed_<s>; short: --seeds 0,1,2."""
    processes: PositiveInt = 1
    """So many folds are trained side by side, each in a process of its own with its share of the processors. Of a small network on a CPU
    a second thread makes next to nothing faster, a second fold does; a large one wants all threads. Of several GPUs each gets its own."""
    launcher: Literal["here", "ray"] = "here"
    """Who starts the folds: this process, or Ray, as tasks of the cluster that RAY_ADDRESS names, or of this machine's CPUs and GPUs alone
    (pip install -r requirements-ray.txt); one that loses its worker goes on elsewhere from its checkpoint. Short: --launcher ray."""
    checkpoint_minutes: PositiveFloat = 5.0
    """A checkpoint this often; rarer on a disk so slow that writing them would take over 2 % of the time."""
    checkpoint_steps: PositiveInt | None = None
    """A checkpoint every so many optimizer steps, besides the minutes."""
    time_budget: str | None = None
    """Stop cleanly after this time (90s, 50m, 2h), resumable."""
    start_over: bool = False
    """Throw away what the output folder holds instead of refusing when config or data changed."""
    price_per_hour: NonNegativeFloat | None = None
    """What the machine costs an hour, in any currency: report.html then tells what training and validation cost, added over the folds."""
    on_out_of_memory: Literal["stop", "halve"] = "stop"
    """When the GPU's memory is full: stop with the batch that did it, or halve the batch and double the accumulation."""

    def __post_init__(self) -> None:
        if self.time_budget is not None:
            seconds_of(self.time_budget)
