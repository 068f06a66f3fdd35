"""The spread of runs that differ in the seed alone."""

import numpy as np
import pytest
from scipy import stats

from runs import predictions
from ser.scoring.metrics import paired_difference
from ser.scoring.spread import describe_spread, seed_spread


def test_mean_deviation_and_noise_are_those_of_the_accuracies():
    rng = np.random.default_rng(0)
    labels, speakers = rng.integers(0, 6, 120), [str(row % 8) for row in range(120)]
    oof = np.stack([predictions(labels, 6, 1.0, rng) for _ in range(4)])
    found = seed_spread(labels, oof, speakers)
    accuracies = (oof.argmax(2) == labels).mean(1)
    assert found["mean"]["accuracy"] == pytest.approx(accuracies.mean())
    assert found["sd"]["accuracy"] == pytest.approx(accuracies.std(ddof=1))
    # Of two single runs: the standard error of a difference of two draws, and t with three degrees of freedom.
    assert found["noise"] == pytest.approx(stats.t(3).ppf(0.975) * accuracies.std(ddof=1) * np.sqrt(2))
    best, worst = accuracies.argmax(), accuracies.argmin()
    assert (found["widest"]["better"], found["widest"]["worse"]) == (best, worst)
    assert found["widest"]["low"] == pytest.approx(paired_difference(labels, oof[best], oof[worst], speakers)["low"])
    gain = (oof.mean(0).argmax(1) == labels).mean() - accuracies.mean()
    assert found["gain_of_average"]["difference"] == pytest.approx(gain)
    assert found["gain_of_average"]["low"] <= gain <= found["gain_of_average"]["high"]


def test_equal_runs_have_no_spread_and_the_sentences_name_the_runs():
    labels = np.arange(60) % 6
    oof = np.stack([predictions(labels, 6, 2.0, np.random.default_rng(1))] * 2)
    found = seed_spread(labels, oof)
    assert found["sd"]["accuracy"] == found["noise"] == found["gain_of_average"]["difference"] == 0
    text = " ".join(describe_spread(found, ["seed_3", "seed_8"]))
    assert "seed_3" in text and "seed_8" in text and "by clip" in text
