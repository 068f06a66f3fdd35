"""How often a 95 % interval by speaker holds the truth, beside the percentile bootstrap over speakers that is the usual way.

    python benchmarks/interval_coverage.py                 # some minutes on one core
    python benchmarks/interval_coverage.py --trials 200

Speakers are made up: each has an accuracy of its own (beta distributed; the correlation of two clips of a speaker is 0.02, 0.1 or
0.2) and 8 to 70 clips. A row is the share of trials whose interval holds the accuracy over all speakers, and the lowest share over the
three correlations. The last rows are of paired differences between two models, one of them 10 points better.
"""

from __future__ import annotations

import argparse

import numpy as np

from ser.scoring.intervals import difference_interval, share_interval

SPEAKERS = (2, 3, 4, 6, 10, 20, 60)
ACCURACIES = (0.5, 0.7, 0.85, 0.95)
CORRELATIONS = (0.02, 0.1, 0.2)
RESAMPLES = 400


def percentile_bootstrap(values: np.ndarray, speakers: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Whole speakers are drawn with replacement; the interval is between the quantiles of their means (Efron & Tibshirani 1993)."""
    _, of_value = np.unique(speakers, return_inverse=True)
    sizes, sums = np.bincount(of_value), np.bincount(of_value, weights=values)
    draws = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
    return tuple(np.quantile((draws @ sums) / (draws @ sizes), [0.025, 0.975]))


def answers(accuracy: float, correlation: float, speakers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Right (1) or wrong (0) for each clip; every speaker has an accuracy of its own."""
    weight = 1 / correlation - 1
    own = rng.beta(accuracy * weight, (1 - accuracy) * weight, speakers.max() + 1)
    return (rng.random(len(speakers)) < own[speakers]).astype(float)


def coverage(count: int, accuracy: float, correlation: float, trials: int, paired: bool = False) -> tuple[float, float]:
    """Shares of the trials in which this repository's interval and the percentile bootstrap hold the truth."""
    rng, held = np.random.default_rng([count, int(100 * accuracy), int(100 * correlation)]), np.zeros(2)
    interval, truth = (difference_interval, 0.1) if paired else (share_interval, accuracy)
    for _ in range(trials):
        speakers = np.repeat(np.arange(count), rng.integers(8, 70, count))
        values = answers(accuracy, correlation, speakers, rng)
        if paired:
            values = values - answers(accuracy - 0.1, correlation, speakers, rng)
        for place, (low, high) in enumerate((interval(values, speakers), percentile_bootstrap(values, speakers, rng))):
            held[place] += low <= truth <= high
    return tuple(held / trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    print(
        f"{'speakers':>8} {'accuracy':>8}   jackknife t (lowest)   percentile bootstrap (lowest)   [{trials} trials for each correlation]"
    )
    for accuracy, paired in [*((accuracy, False) for accuracy in ACCURACIES), (0.7, True)]:
        for count in SPEAKERS:
            ours, usual = zip(*(coverage(count, accuracy, correlation, trials, paired) for correlation in CORRELATIONS), strict=True)
            told = "gain 0.1" if paired else f"{accuracy:8.2f}"
            print(f"{count:8d} {told}   {np.mean(ours):11.3f} ({min(ours):.3f})   {np.mean(usual):20.3f} ({min(usual):.3f})", flush=True)


if __name__ == "__main__":
    main()
