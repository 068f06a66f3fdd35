"""Scores against scikit-learn and against intervals known from theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ser.runtime.errors import UserError
from ser.scoring.metrics import (
    confusion_matrix,
    describe,
    majority_baseline,
    paired_difference,
    per_class,
    quick_scores,
    scores,
    selection_value,
)


def made_up(count: int, classes: int, seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 80), classes=st.integers(2, 15), seed=st.integers(0, 10_000))
def test_every_score_equals_scikit_learn(count, classes, seed):
    labels, probabilities = made_up(count, classes, seed)
    predicted, names = probabilities.argmax(axis=1), list(range(classes))
    ours = quick_scores(labels, probabilities)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro", zero_division=0))
    present = sorted(set(labels.tolist()))
    assert ours["uar"] == pytest.approx(reference.recall_score(labels, predicted, labels=present, average="macro"))
    assert ours["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities, labels=names))
    assert (confusion_matrix(labels, probabilities) == reference.confusion_matrix(labels, predicted, labels=names)).all()
    precision, recall, f1, n = reference.precision_recall_fscore_support(labels, predicted, labels=names, zero_division=0)
    table = per_class(labels, probabilities, [f"label {name}" for name in names])
    for column, expected in {"precision": precision, "recall": recall, "f1": f1, "n": n}.items():
        assert table[column].to_numpy() == pytest.approx(expected)


def test_probability_zero_for_the_truth_gives_a_finite_log_loss():
    loss = quick_scores([0, 1], np.array([[0.0, 1.0], [0.0, 1.0]]))["log_loss"]
    assert loss == pytest.approx(reference.log_loss([0, 1], np.array([[0.0, 1.0], [0.0, 1.0]])))


def test_majority_is_the_share_of_the_commonest_label():
    assert majority_baseline([2, 2, 0, 1]) == 0.5


def test_speakers_that_differ_widen_the_interval():
    labels = np.zeros(200, dtype=int)
    probabilities = np.repeat(np.eye(2), 100, axis=0)
    speakers = [f"speaker {i // 20}" for i in range(200)]
    by_clip, by_speaker = scores(labels, probabilities), scores(labels, probabilities, speakers)
    width = [result["accuracy_high"] - result["accuracy_low"] for result in (by_clip, by_speaker)]
    assert width[1] > 3 * width[0]
    assert (by_clip["interval_by"], by_speaker["interval_by"]) == ("clip", "speaker")


@pytest.mark.parametrize("many", [1, 3])
def test_too_few_speakers_get_an_interval_by_clip_that_says_so(many):
    labels, probabilities = made_up(60, 3)
    few = scores(labels, probabilities, [f"s{i % many}" for i in range(60)])
    assert few["interval_by"] == "clip" and few["accuracy_low"] < few["accuracy_high"]
    assert "for these voices only" in describe(few) and f"{many} speaker" in describe(few).replace("one speaker", "1 speaker")


def test_scores_do_not_depend_on_row_order():
    labels, probabilities = made_up(120, 6)
    speakers = np.array([f"s{i % 9}" for i in range(120)])
    order = np.random.default_rng(3).permutation(120)
    assert scores(labels[order], probabilities[order], speakers[order]) == pytest.approx(scores(labels, probabilities, speakers))


def test_perfect_answers_on_5_of_15_labels_have_macro_f1_1():
    labels = np.arange(50) % 5
    assert quick_scores(labels, np.eye(15)[labels])["macro_f1"] == 1.0


def test_paired_difference_of_a_prediction_with_itself_is_zero():
    labels, probabilities = made_up(80, 4)
    none = paired_difference(labels, probabilities, probabilities)
    assert (none["difference"], none["low"], none["high"], none["interval_by"]) == (0, 0, 0, "clip")


def test_paired_difference_is_narrower_than_two_separate_intervals():
    labels, better = made_up(400, 6, skill=2.0)
    worse = better.copy()
    right = np.flatnonzero(better.argmax(axis=1) == labels)[:10]
    worse[right] = np.roll(better[right], 1, axis=1)
    gain = paired_difference(labels, better, worse)
    assert gain["difference"] == pytest.approx(scores(labels, better)["accuracy"] - scores(labels, worse)["accuracy"])
    single = scores(labels, better)
    assert gain["low"] > 0
    assert gain["high"] - gain["low"] < 0.5 * (single["accuracy_high"] - single["accuracy_low"])


def test_description_never_shows_accuracy_alone():
    labels, probabilities = made_up(50, 3)
    text = describe(scores(labels, probabilities))
    for part in ("accuracy 0.", "[0.", "95 % interval by clip", "n 50", "majority", "macro-F1", "UAR", "log loss"):
        assert part in text


def test_lower_loss_and_higher_accuracy_are_better():
    assert selection_value("loss", {"loss": 0.5}) > selection_value("loss", {"loss": 0.9})
    assert selection_value("uar", {"uar": 0.6}) > selection_value("uar", {"uar": 0.5})


@pytest.mark.parametrize(
    ("labels", "shape", "says"),
    [([], (0, 3), "no labelled clip"), ([0, 1], (3, 3), "one row per clip"), ([0, 3], (2, 3), "another label set")],
)
def test_what_cannot_be_scored_is_said(labels, shape, says):
    with pytest.raises(UserError, match=says):
        scores(np.array(labels, dtype=int), np.full(shape, 1 / 3))
