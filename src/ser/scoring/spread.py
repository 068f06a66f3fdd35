"""How far runs lie apart that differ in nothing but the seed: what a gain has to beat before it is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ser.scoring.intervals import difference_interval, told_interval, usable_speakers
from ser.scoring.metrics import paired_difference, quick_scores

TOLD = ("accuracy", "macro_f1", "uar", "log_loss")


def seed_spread(labels: np.ndarray, oof: np.ndarray, speakers: Sequence[str] | None = None) -> dict:
    """The spread of S >= 2 runs' scores. labels (n,), oof (S, n, C).

    Returns runs (S); mean and sd (over the runs, S - 1 in the denominator) of accuracy, macro_f1, uar and log_loss; noise: how far apart
    the accuracies of two single runs must be before the seed is an unlikely reason (95 %, Student's t with S - 1 degrees of freedom);
    widest: the two runs with the largest difference in accuracy, and its paired interval; gain_of_average: accuracy of the mean of the
    runs' probabilities less the mean accuracy of the runs, with its paired interval.
    """
    from scipy.stats import t

    table = [quick_scores(labels, of_run) for of_run in oof]
    mean = {name: float(np.mean([row[name] for row in table])) for name in TOLD}
    sd = {name: float(np.std([row[name] for row in table], ddof=1)) for name in TOLD}
    pairs = list(combinations(range(len(oof)), 2))
    first, second = max(pairs, key=lambda pair: abs(table[pair[0]]["accuracy"] - table[pair[1]]["accuracy"]))
    if table[first]["accuracy"] < table[second]["accuracy"]:
        first, second = second, first
    return {
        "runs": len(oof),
        "mean": mean,
        "sd": sd,
        "noise": float(t.ppf(0.975, len(oof) - 1) * np.sqrt(2) * sd["accuracy"]),
        "widest": {"better": first, "worse": second, **paired_difference(labels, oof[first], oof[second], speakers)},
        "gain_of_average": _gain_of_average(labels, oof, speakers),
    }


def _gain_of_average(labels: np.ndarray, oof: np.ndarray, speakers: Sequence[str] | None) -> dict:
    right = (oof.argmax(axis=2) == labels).astype(float)
    gains = (oof.mean(axis=0).argmax(axis=1) == labels) - right.mean(axis=0)
    low, high = difference_interval(gains, usable_speakers(speakers, len(labels)))
    return {"difference": float(gains.mean()), "low": low, "high": high, **told_interval(speakers)}


def describe_spread(spread: Mapping, names: Sequence[str]) -> list[str]:
    """The spread in sentences. names: of the runs."""
    widest, gain, mean, sd = spread["widest"], spread["gain_of_average"], spread["mean"], spread["sd"]
    return [
        f"Over {spread['runs']} seeds accuracy is {mean['accuracy']:.3f} with a standard deviation of {sd['accuracy']:.4f} (macro-F1 "
        f"{mean['macro_f1']:.3f}, {sd['macro_f1']:.4f}; UAR {mean['uar']:.3f}, {sd['uar']:.4f}; log loss {mean['log_loss']:.3f}, "
        f"{sd['log_loss']:.4f}).",
        f"Two single runs of this experiment may lie {100 * spread['noise']:.1f} points apart by the seed alone (95 %; the fewer seeds, "
        "the wider): a change that gains less in one run has shown nothing.",
        f"The widest pair is {names[widest['better']]} over {names[widest['worse']]}: {_points(widest)}. It was picked as the widest, "
        "and only the seed is different.",
        f"Averaging the seeds, against one of them: {_points(gain)}.",
    ]


def _points(gain: Mapping) -> str:
    return (
        f"{100 * gain['difference']:+.1f} points of accuracy [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}] (95 % interval, paired, "
        f"by {gain['interval_by']})"
    )
