"""Scores of several labels a clip, against scikit-learn, brute force and the bootstrap."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, recall_score, roc_auc_score

from ser.runtime.errors import UserError
from ser.scoring.metrics import describe, per_class, quick_scores, scores
from ser.scoring.multi_label import multi_label_scores, per_label
from ser.scoring.thresholds import cross_fitted, fit_thresholds, given_by

RATES = np.array([0.5, 0.3, 0.15, 0.08])


@pytest.fixture(scope="module")
def made():
    """400 clips, four labels, probabilities that know something; folds."""
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 4)) < RATES).astype(int)
    return labels, 1 / (1 + np.exp(2 - 2.5 * labels + rng.normal(size=labels.shape))), rng.integers(0, 5, 400)


def test_scores_are_scikit_learns(made):
    labels, probabilities, folds = made
    given = cross_fitted(labels, probabilities, folds)
    found = multi_label_scores(labels, probabilities, None, given)
    assert found["micro_f1"] == pytest.approx(f1_score(labels, given, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, given, average="macro"))
    assert found["uar"] == pytest.approx(recall_score(labels, given, average="macro"))
    assert found["auc"] == pytest.approx(roc_auc_score(labels, probabilities))
    assert found["accuracy"] == pytest.approx((given == labels).all(1).mean())
    assert found["log_loss"] == pytest.approx(np.mean([log_loss(labels[:, c], probabilities[:, c]) for c in range(4)]))
    assert found["labels_a_clip"] == labels.sum() / 400 and found["given_a_clip"] == given.sum() / 400
    assert found["without_label"] == (labels.sum(1) == 0).sum() > 0
    table = per_label(labels, probabilities, list("abcd"), given)
    np.testing.assert_allclose(table["f1"], f1_score(labels, given, average=None))
    np.testing.assert_allclose(table["auc"], [roc_auc_score(labels[:, c], probabilities[:, c]) for c in range(4)])
    assert table["n"].tolist() == labels.sum(0).tolist() and table["given"].tolist() == given.sum(0).tolist()


def test_baselines_are_the_best_of_all_constant_answers(made):
    labels, probabilities, _ = made
    found = scores(labels, probabilities)
    constants = [np.tile(answer, (400, 1)) for answer in product((0, 1), repeat=4)]
    for name, score in {
        "micro_f1": lambda answer: f1_score(labels, answer, average="micro", zero_division=0),
        "macro_f1": lambda answer: f1_score(labels, answer, average="macro", zero_division=0),
        "accuracy": lambda answer: (labels == answer).all(1).mean(),
    }.items():
        assert found[f"{name}_baseline"] == pytest.approx(max(map(score, constants))), name


def test_intervals_are_about_those_of_the_bootstrap(made):
    labels, probabilities, folds = made
    given = cross_fitted(labels, probabilities, folds)
    found = multi_label_scores(labels, probabilities, None, given)
    rng, drawn = np.random.default_rng(1), {"micro_f1": [], "auc": []}
    for _ in range(150):
        rows = rng.integers(0, 400, 400)
        truth, answers, likely = labels[rows] == 1, given[rows], probabilities[rows]
        drawn["micro_f1"].append(2 * (truth & answers).sum() / (truth.sum() + answers.sum()))
        above = [(likely[truth[:, c], c][:, None] > likely[~truth[:, c], c]).mean() for c in range(4)]
        drawn["auc"].append(np.mean(above))
    for name, values in drawn.items():
        width = np.subtract(*np.percentile(values, [97.5, 2.5]))
        assert 0.75 < (found[f"{name}_high"] - found[f"{name}_low"]) / width < 1.7, name
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_clips_of_one_speaker_count_as_one_in_the_interval(made):
    labels, probabilities, _ = made
    tenfold = np.repeat(labels[:40], 10, axis=0), np.repeat(probabilities[:40], 10, axis=0)
    alone = scores(*tenfold)
    by_speaker = scores(*tenfold, [f"s{number // 10}" for number in range(400)])
    assert by_speaker["interval_by"] == "speaker" and "by speaker" in describe(by_speaker)
    for name in ("micro_f1", "auc"):
        assert by_speaker[f"{name}_high"] - by_speaker[f"{name}_low"] > 1.5 * (alone[f"{name}_high"] - alone[f"{name}_low"])


def test_a_part_is_judged_without_its_own_labels(made):
    labels, probabilities, folds = made
    given = cross_fitted(labels, probabilities, folds)
    turned = np.where((folds == 2)[:, None], 1 - labels, labels)
    again = cross_fitted(turned, probabilities, folds)
    np.testing.assert_array_equal(again[folds == 2], given[folds == 2])
    assert (again != given).any()
    np.testing.assert_array_equal(
        given[folds == 2], given_by(probabilities, fit_thresholds(labels[folds != 2], probabilities[folds != 2]))[folds == 2]
    )


def test_labels_that_never_or_always_occur_break_nothing():
    rng = np.random.default_rng(3)
    labels = np.column_stack([np.zeros(60), np.ones(60), rng.integers(0, 2, 60)]).astype(int)
    probabilities = rng.random((60, 3))
    found = scores(labels, probabilities)
    assert all(np.isfinite(value) for value in found.values() if isinstance(value, float))
    assert per_class(labels, probabilities, list("abc"))["auc"].isna().tolist() == [True, True, False]
    nothing = quick_scores(np.zeros((4, 2), int), np.full((4, 2), 0.4))
    assert nothing["auc"] == 0.5 and nothing["micro_f1"] == 0
    with pytest.raises(UserError, match="a row per clip"):
        scores(labels, probabilities[:, :2])


def test_clips_that_are_all_alike_are_not_all_given_a_label_that_one_of_them_has():
    labels = np.array([[1], [0], [0], [0]])
    alike = np.full((4, 1), 0.2)
    assert given_by(alike, fit_thresholds(labels, alike)).sum() == 0
    told_apart = np.array([[0.9], [0.2], [0.2], [0.1]])
    assert given_by(told_apart, fit_thresholds(labels, told_apart))[:, 0].tolist() == [True, False, False, False]


def test_a_label_that_one_clip_has_makes_no_narrow_interval(made):
    labels, probabilities = made[:2]
    alone = np.zeros((len(labels), 1), labels.dtype)
    alone[0] = 1
    with_it = multi_label_scores(np.hstack([labels, alone]), np.hstack([probabilities, np.linspace(1, 0, len(labels))[:, None]]))
    without = multi_label_scores(labels, probabilities)
    assert (with_it["auc"], with_it["auc_low"]) == (without["auc"], without["auc_low"])
