"""The trials of a sweep: ordinary runs, drawn by Optuna, whose record is a file that several processes share.

A trial that a kill left behind is taken up by whoever comes next, at the fold and the epoch where it was. What is drawn depends on the
sweep's seed, the trial's number and the trials before, so that one process draws the same however often it is interrupted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ser.config import Config
from ser.inference.runs import read_fold
from ser.runtime.errors import UserError
from ser.runtime.files import locked
from ser.runtime.seeds import seed_of
from ser.scoring.metrics import quick_scores
from ser.sweep.space import config_with
from ser.train.lock import only_process
from ser.train.training import train

STORAGE = "optuna.journal"
BEHIND = 0.2
"""A trial is given up when Wilcoxon's test over its folds, paired with those of the best trial so far, finds it worse at this level. At the
earliest that is after three folds in all of which it was behind, which an equally good trial is once in eight times."""
FAILURES = 5  # in a row that end a sweep: its data are gone, say, and no trial can do better


@dataclass(frozen=True)
class Sweep:
    """A sweep in a folder: words make the config that is varied, space what is tried."""

    folder: Path
    words: Sequence[str]
    space: Mapping[str, BaseDistribution]
    base: Config
    study: Study
    prune: bool

    @classmethod
    def open(cls, folder: Path, words: Sequence[str], space: Mapping[str, BaseDistribution], prune: bool) -> Sweep:
        """The sweep of this folder, begun or not."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        base = config_with(words, {})
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / STORAGE))),
            study_name="sweep",
            direction="minimize" if base.train.metric == "loss" else "maximize",
            sampler=SeededByNumber(base.run.seed),
            pruner=optuna.pruners.WilcoxonPruner(p_threshold=BEHIND) if prune else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        return cls(folder, words, space, base, study, prune)

    def run_folder(self, number: int) -> Path:
        """Where the run of a trial lies."""
        return self.folder / f"trial_{number:03d}"

    def config_of(self, values: Mapping[str, object], folder: Path, *more: str) -> Config:
        """The config with the values of a trial, for a run in that folder."""
        return config_with(self.words, values, f"--run.output={folder}", *more)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, by number."""
        return self.study.get_trials(deepcopy=False, states=states)

    @contextmanager
    def next_trial(self, wanted: int) -> Iterator[Trial | None]:
        """A trial for this process alone: one that was left behind, else a new one, None where there are as many as wanted."""
        with ExitStack() as held:
            with locked(self.folder / ".lock"):
                trial = self._left_behind(held) or self._new(held, wanted)
            yield trial

    def _left_behind(self, held: ExitStack) -> Trial | None:
        for frozen in self.trials(TrialState.RUNNING):
            try:
                held.enter_context(only_process(self.run_folder(frozen.number)))
            except UserError:  # its process lives
                continue
            if frozen.params.keys() == self.space.keys():
                return Trial(self.study, frozen._trial_id)
            self.study.tell(frozen.number, state=TrialState.FAIL)  # killed while it was drawn
        return None

    def _new(self, held: ExitStack, wanted: int) -> Trial | None:
        if len(self.trials(TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)) >= wanted:
            return None
        trial = self.study.ask(dict(self.space))
        held.enter_context(only_process(self.run_folder(trial.number)))
        return trial


def run_trial(sweep: Sweep, trial: Trial) -> str:
    """Train a trial fold by fold, until it is whole or has fallen behind; returns what came of it in a few words.

    One that can't be trained with its values counts as failed. Raises UserError where none could be yet, and Interrupted.
    """
    folder = sweep.run_folder(trial.number)
    try:
        config = sweep.config_of(trial.params, folder)
        for fold in range(config.cv.n):
            train(config, [fold])
            judged = _report(trial, fold, score(*read_fold(folder / f"fold_{fold}"), config.train.metric))
            if judged < config.cv.n and trial.should_prune():
                sweep.study.tell(trial, state=TrialState.PRUNED)
                return f"fell behind, given up after {judged} of {config.cv.n} folds"
    except UserError as error:
        trial.set_user_attr("error", str(error))
        sweep.study.tell(trial, state=TrialState.FAIL)
        last = sweep.trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[-FAILURES:]
        if not sweep.trials(TrialState.COMPLETE) or (len(last) == FAILURES and {each.state for each in last} == {TrialState.FAIL}):
            raise
        return f"failed: {error}"
    value = score(*pooled(folder, config.cv.n), config.train.metric)
    sweep.study.tell(trial, value)
    return f"{config.train.metric} {value:.4f}"


def score(labels: np.ndarray, probabilities: np.ndarray, metric: str) -> float:
    """The score by which trials are compared: train.metric."""
    return quick_scores(labels, probabilities)["log_loss" if metric == "loss" else metric]


def pooled(folder: Path, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and out-of-fold probabilities of a run's first folds."""
    labels, probabilities = zip(*(read_fold(folder / f"fold_{fold}") for fold in range(folds)), strict=True)
    return np.concatenate(labels), np.concatenate(probabilities)


def _report(trial: Trial, fold: int, value: float) -> int:
    """Tell the score of a fold; returns how many folds are told by now, of a trial taken up again perhaps later ones, too."""
    known = trial.study.trials[trial.number].intermediate_values
    if fold not in known:
        trial.report(value, fold)
    return len({*known, fold})


class SeededByNumber(BaseSampler):
    """Optuna's TPE (Bergstra et al. 2011) with a generator for each trial, seeded by its number."""

    def __init__(self, seed: int) -> None:
        self.seed, self.samplers = seed, {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, object]:
        """As TPE."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> object:
        """As TPE."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial) -> TPESampler:
        if trial.number not in self.samplers:
            self.samplers[trial.number] = TPESampler(seed=seed_of(self.seed, "sweep", trial.number))
        return self.samplers[trial.number]
