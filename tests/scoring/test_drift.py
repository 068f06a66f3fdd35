"""Adversarial validation: train and test told apart, or not."""

import numpy as np
import pytest

from ser.scoring.drift import drift, largest_moves

NAMES = ("level", "length", "pitch")


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr("ser.scoring.drift.TREES", 40)  # enough for three features


def test_clips_of_one_source_cannot_be_told_apart():
    rng = np.random.default_rng(0)
    found = drift(rng.normal(size=(300, 3)), rng.normal(size=(150, 3)), NAMES)
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.15


def test_another_microphone_is_noticed_and_named():
    rng = np.random.default_rng(1)
    train, test = rng.normal(size=(200, 3)), rng.normal(size=(100, 3))
    test[:, 1] += 3
    found = drift(train, test, NAMES)
    assert found.low > 0.9
    assert found.telling.index[0] == "length"
    # Two normal distributions three deviations apart: P(x < y) = Phi(3 / sqrt 2).
    assert found.telling["length"] == pytest.approx(0.983, abs=0.015)


def test_each_features_own_area_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(5)
    train, test = rng.integers(9, size=(50, 3)), rng.integers(11, size=(30, 3))  # with ties
    areas = [roc_auc_score(np.repeat([0, 1], [50, 30]), column) for column in np.vstack([train, test]).T]
    found = drift(train, test, NAMES).telling
    assert found[list(NAMES)].tolist() == pytest.approx([max(area, 1 - area) for area in areas])


def test_a_difference_of_spread_alone_is_noticed():
    rng = np.random.default_rng(2)
    test = rng.normal(size=(200, 3))
    test[:, 0] *= 6
    assert drift(rng.normal(size=(200, 3)), test, NAMES).low > 0.65


def test_the_interval_is_as_wide_as_scores_vary():
    """Hanley & McNeil's standard error beside the spread of the area over samples of normal scores with the same area."""
    from sklearn.metrics import roc_auc_score

    from ser.scoring.drift import _standard_error

    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1], [80, 40])
    areas = [roc_auc_score(truth, rng.normal(size=120) + truth) for _ in range(200)]
    assert _standard_error(float(np.mean(areas)), 40, 80) == pytest.approx(np.std(areas), rel=0.2)


def test_the_same_clips_give_the_same_answer_and_missing_values_are_taken():
    rng = np.random.default_rng(4)
    train, test = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    train[0, 0] = np.nan
    assert drift(train, test, NAMES).auc == drift(train, test, NAMES).auc


def test_shares_of_two_samples_move_as_the_binomial_says_and_further_where_whole_speakers_are_drawn():
    answers = np.arange(600) % 2
    moves = largest_moves(answers, 2, 300, draws=4_000)
    assert np.quantile(moves, 0.95) == pytest.approx(1.96 * np.sqrt(0.25 * (1 / 600 + 1 / 300)), rel=0.05)
    of_one_mind = [f"speaker {answer} {number % 20}" for number, answer in enumerate(answers)]
    assert np.median(largest_moves(answers, 2, 300, of_one_mind)) > 2 * np.median(moves)
