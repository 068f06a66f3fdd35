"""Intervals against theory, against leaving out by hand, and against the truth of made-up speakers."""

from statistics import mean

import numpy as np
import pytest
from scipy.stats import t
from sklearn import metrics as reference

from ser.runtime.errors import UserError
from ser.scoring.intervals import difference_interval, macro_f1, score_interval, share_interval, uar, usable_speakers


def coverage(speakers: int, accuracy: float, trials: int = 400, spread: float = 0.1, seed: int = 0) -> float:
    """How often the interval holds the accuracy over all speakers; spread: the correlation of two clips of a speaker."""
    rng, weight = np.random.default_rng(seed), 1 / spread - 1
    hits = 0
    for _ in range(trials):
        sizes = rng.integers(10, 60, speakers)
        skill = rng.beta(accuracy * weight, (1 - accuracy) * weight, speakers)
        correct = np.concatenate([rng.random(size) < p for size, p in zip(sizes, skill, strict=True)])
        low, high = share_interval(correct, np.repeat(np.arange(speakers), sizes).astype(str))
        hits += low <= accuracy <= high
    return hits / trials


@pytest.mark.parametrize("speakers", [4, 6, 20])
@pytest.mark.parametrize("accuracy", [0.5, 0.8])
def test_the_interval_by_speaker_holds_the_truth_95_times_in_100_with_few_speakers_too(speakers, accuracy):
    assert 0.92 <= coverage(speakers, accuracy) <= 0.99


def test_a_paired_difference_of_4_speakers_holds_the_truth_95_times_in_100():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        speakers = np.repeat(np.arange(4), 30)
        better, worse = rng.beta(7, 3, 4)[speakers], rng.beta(6, 4, 4)[speakers]
        gains = (rng.random(120) < better).astype(float) - (rng.random(120) < worse)
        low, high = difference_interval(gains, speakers.astype(str))
        hits += low <= 0.1 <= high
    assert 0.92 <= hits / 400 <= 0.99


def test_the_interval_by_clip_is_close_to_the_binomial_one():
    low, high = share_interval(np.repeat([1, 0], [300, 100]))
    error = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - error, 0.75 + error), abs=0.004)


def test_a_difference_by_clip_is_students_t():
    gains = np.repeat([1.0, 0.0, -1.0], [30, 160, 10])
    reach = t.ppf(0.975, 199) * gains.std(ddof=1) / np.sqrt(200)
    assert difference_interval(gains) == pytest.approx((0.1 - reach, 0.1 + reach))


def test_macro_f1_and_uar_leave_out_speakers_as_scikit_learn_scores_the_rest():
    rng = np.random.default_rng(2)
    truth, answers, speakers = rng.integers(0, 4, 90), rng.integers(0, 5, 90), np.arange(90) % 5
    rows = np.zeros((90, 5, 5))
    rows[np.arange(90), truth, answers] = 1
    kept = np.stack([rows[speakers != name].sum(axis=0) for name in range(5)])
    for name in range(5):
        rest = speakers != name
        assert macro_f1(kept)[name] == pytest.approx(reference.f1_score(truth[rest], answers[rest], average="macro"))
        present = np.unique(truth[rest])
        assert uar(kept)[name] == pytest.approx(reference.recall_score(truth[rest], answers[rest], labels=present, average="macro"))
    low, high = score_interval(uar, np.stack([rows[speakers == name].sum(axis=0) for name in range(5)]), np.full(5, 18.0))
    assert low < mean(uar(kept).tolist()) < high


@pytest.mark.parametrize("hits", [[1], [1] * 12, [0] * 12])
def test_all_right_or_all_wrong_is_no_certainty(hits):
    low, high = share_interval(np.array(hits), np.arange(len(hits)).astype(str))
    assert 0 <= low < high <= 1 and high - low > 0.2


def test_speakers_must_be_one_per_clip():
    with pytest.raises(UserError, match="3 speakers were given for 4 clips"):
        usable_speakers(["a", "b", "c"], 4)
