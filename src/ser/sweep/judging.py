"""How good the winner of a sweep really is: the best of many trials is partly the luckiest.

Two answers, of which the first costs nothing: for each fold the trial is chosen by the other folds and judged on that one. The second
trains the winner and the config as it was again, with other seeds and so on other splits, which chose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from ser.inference.runs import Run, read_run
from ser.runtime.errors import UserError
from ser.scoring.metrics import paired_difference, scores
from ser.sweep.trials import Sweep, score
from ser.train.training import train


def judge(sweep: Sweep, seeds: Sequence[int]) -> dict:
    """Everything that is told of the winner. Trains what isn't trained yet of the runs with other seeds; raises Interrupted."""
    trials = sweep.trials(TrialState.COMPLETE)
    runs = [read_run(sweep.run_folder(trial.number)) for trial in trials]
    _check_same_clips(runs)
    best = best_of(trials, sweep.base.train.metric)
    chosen = runs[best]
    nested, choices = nested_choice(runs, sweep.base.train.metric)
    judged = scores(chosen.labels, nested, chosen.speakers)
    oof = scores(chosen.labels, chosen.oof, chosen.speakers)
    return {
        "trials": {state.name.lower(): len(sweep.trials(state)) for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)},
        "metric": sweep.base.train.metric,
        "split": chosen.split,
        "best": {"number": trials[best].number, "values": trials[best].params, "oof": oof},
        "nested": {"oof": judged, "chosen_for_each_fold": [trials[choice].number for choice in choices]},
        "flattery": oof["accuracy"] - judged["accuracy"],
        "other_seeds": on_other_seeds(sweep, trials[best], seeds) if seeds else None,
    }


def best_of(trials: Sequence[FrozenTrial], metric: str) -> int:
    """The place of the best trial; of equal ones the first."""
    values = np.array([trial.value for trial in trials])
    return int(values.argmin() if metric == "loss" else values.argmax())


def nested_choice(runs: Sequence[Run], metric: str) -> tuple[np.ndarray, list[int]]:
    """(n, C): the clips of each fold as the run predicts them that is best on the other folds; and which run that was."""
    labels, folds = runs[0].labels, runs[0].fold_of
    result, choices, sign = np.empty_like(runs[0].oof), [], -1 if metric == "loss" else 1
    for fold in np.unique(folds):
        others = folds != fold
        choices.append(int(np.argmax([sign * score(labels[others], run.oof[others], metric) for run in runs])))
        result[~others] = runs[choices[-1]].oof[~others]
    return result, choices


def on_other_seeds(sweep: Sweep, best: FrozenTrial, seeds: Sequence[int]) -> dict:
    """The winner and the config as it was, trained with each seed, and their paired difference over all of them."""
    runs = {"best": [], "base": []}
    for seed in seeds:
        for name, values in (("best", best.params), ("base", {})):
            folder = sweep.folder / "other_seeds" / f"{name}_seed_{seed}"
            print(f"== {name}, seed {seed}", flush=True)
            train(sweep.config_of(values, folder, f"--run.seed={seed}"))
            runs[name].append(read_run(folder))
    told = {name: [scores(run.labels, run.oof, run.speakers) for run in own] for name, own in runs.items()}
    return {"seeds": list(seeds), **told, "gain": gain_over_seeds(runs["best"], runs["base"])}


def gain_over_seeds(best: Sequence[Run], base: Sequence[Run]) -> dict:
    """Accuracy of one minus the other over the runs of all seeds. A clip (a speaker, where known) is one and the same in all of them."""
    first = best[0]
    labels = np.concatenate([run.labels for run in best])
    own, other = (np.concatenate([run.oof for run in runs]) for runs in (best, base))
    gain = paired_difference(labels, own, other, (first.speakers or first.ids) * len(best))
    return gain if first.speakers else gain | {"interval_by": "clip", "speakers": None}


def _check_same_clips(runs: Sequence[Run]) -> None:
    for run in runs[1:]:
        if run.fingerprint != runs[0].fingerprint or not np.array_equal(run.fold_of, runs[0].fold_of):
            raise UserError(
                f"{run.folder} has other clips or folds than {runs[0].folder}: the data changed during the sweep. Begin a new one."
            )
