"""Likely label errors, beside a hand count and beside cleanlab, whose authors wrote the paper."""

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from ser.scoring.label_errors import likely_label_errors


def noisy(seed: int, wrong: int, lopsided: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (400,) of which `wrong` are changed, probabilities of a fair model, and the rows that were changed."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, 400, p=[0.55, 0.25, 0.15, 0.05])
    logits = rng.normal(size=(400, 4)) + 2 * np.eye(4)[labels] + lopsided * np.arange(4)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = rng.choice(400, wrong, replace=False)
    labels[rows] = (labels[rows] + rng.integers(1, 4, wrong)) % 4
    return labels, probabilities, rows


@pytest.mark.parametrize("lopsided", [0.0, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_clips_in_the_same_order_as_cleanlab(seed, lopsided):
    labels, probabilities, _ = noisy(seed, 30, lopsided)
    found = likely_label_errors(labels, probabilities)
    theirs = find_label_issues(labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1)
    assert found["row"].tolist() == theirs.tolist()
    assert len(found) > 10


def test_a_hand_count():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6], [0.95, 0.05]])
    labels = np.array([0, 0, 1, 1, 0, 1])
    # The clips labelled 0 have 0.667 of it on average, those labelled 1 have 0.583.
    found = likely_label_errors(labels, probabilities)
    assert found.to_dict("list") == {
        "row": [5, 4], "given": [1, 0], "suggested": [0, 1], "p_given": [0.05, 0.4], "p_suggested": [0.95, 0.6],
    }  # fmt: skip


def test_planted_errors_are_found_and_come_first_and_a_sure_model_that_agrees_names_none():
    labels, probabilities, planted = noisy(5, 40)
    found = likely_label_errors(labels, probabilities)["row"]
    assert np.isin(planted, found).mean() > 0.5
    assert np.isin(planted, found[:20]).sum() > 12  # the first of the list are mostly theirs, of 400
    agreeing = np.eye(4)[labels] * 0.9 + 0.025
    assert likely_label_errors(labels, agreeing).empty


def test_a_label_that_no_clip_has_is_never_suggested():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    found = likely_label_errors(np.array([0, 0, 1, 0]), probabilities)
    assert found[["row", "suggested"]].to_numpy().tolist() == []
    probabilities[3] = [0.05, 0.9, 0.05]
    assert likely_label_errors(np.array([0, 0, 1, 0]), probabilities)[["row", "suggested"]].to_numpy().tolist() == [[3, 1]]
