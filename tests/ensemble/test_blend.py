"""Blending methods against independent references, and that nested estimates are honest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import gmean
from sklearn.metrics import log_loss

from runs import predictions
from ser.ensemble.blend import error_correlation
from ser.ensemble.methods import METHODS, fit_weights, nested_predictions, nesting_groups


def random_members(seed, count, clips=60, classes=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, clips)
    return np.stack([predictions(labels, classes, skill, rng) for skill in rng.uniform(0, 2.5, count)]), labels


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6))
def test_weights_lie_on_the_simplex_and_predictions_are_distributions(seed, count):
    oof, labels = random_members(seed, count)
    for method, fit in METHODS.items():
        fitted = fit(oof, labels)
        blended = fitted.predict(oof)
        assert (blended >= 0).all() and blended.sum(axis=1) == pytest.approx(np.ones(len(labels))), method
        if fitted.weights is not None:
            assert (fitted.weights >= 0).all() and fitted.weights.sum() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
def test_blend_of_identical_members_is_the_member(seed, count):
    oof, labels = random_members(seed, 1)
    copies = np.repeat(oof, count, axis=0)
    for method in ("mean", "gmean"):
        assert METHODS[method](copies, labels).predict(copies) == pytest.approx(oof[0], abs=2e-6)
    # Learned weights may sharpen the member, never reorder its labels.
    assert (fit_weights(copies, labels).predict(copies).argmax(axis=1) == oof[0].argmax(axis=1)).all()


def test_geometric_mean_equals_scipys():
    oof, labels = random_members(1, 4)
    expected = gmean(oof, axis=0)
    assert METHODS["gmean"](oof, labels).predict(oof) == pytest.approx(expected / expected.sum(axis=1, keepdims=True), rel=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_learned_weights_reach_the_least_log_loss_a_search_finds(seed):
    oof, labels = random_members(seed, 2, clips=120)

    def loss(first, second):
        pooled = oof[0] ** first * oof[1] ** second
        return log_loss(labels, pooled / pooled.sum(axis=1, keepdims=True), labels=range(6))

    def best_for(first):
        return minimize_scalar(lambda second: loss(first, second), bounds=(0, 5), method="bounded").fun

    searched = minimize_scalar(best_for, bounds=(0, 5), method="bounded").fun
    ours = log_loss(labels, fit_weights(oof, labels).predict(oof), labels=range(6))
    assert ours <= searched + 1e-4


def test_member_that_guesses_gets_almost_no_weight():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 2000)
    oof = np.stack([predictions(labels, 6, skill, rng) for skill in (2.0, 0.0)])
    assert fit_weights(oof, labels).weights[1] < 0.03


def test_members_that_are_always_wrong_still_give_a_blend():
    labels = np.arange(60) % 6
    oof = np.stack([predictions((labels + shift) % 6, 6, 6.0, np.random.default_rng(shift)) for shift in (1, 2)])
    assert fit_weights(oof, labels).weights == pytest.approx([0.5, 0.5])


def test_nested_estimate_never_sees_the_labels_of_the_clips_it_judges():
    oof, labels = random_members(2, 3)
    groups = np.arange(60) % 4
    changed = np.where(groups == 2, (labels + 1) % 6, labels)
    for method in METHODS:
        before = nested_predictions(method, oof, labels, groups)
        after = nested_predictions(method, oof, changed, groups)
        assert np.array_equal(before[groups == 2], after[groups == 2])
        if method in ("weighted", "stack"):
            assert not np.array_equal(before[groups != 2], after[groups != 2])


def test_stacking_on_noise_scores_chance_when_nested_though_it_fits_its_own_clips():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 300)
    oof = np.stack([predictions(labels, 6, 0.0, rng) for _ in range(8)])
    nested = nested_predictions("stack", oof, labels, np.arange(300) % 5)
    assert (METHODS["stack"](oof, labels).predict(oof).argmax(axis=1) == labels).mean() > 0.3
    assert (nested.argmax(axis=1) == labels).mean() < 0.25


def test_label_missing_from_the_other_folds_gets_probability_zero_by_stacking():
    oof, labels = random_members(3, 2)
    nested = nested_predictions("stack", oof, labels, (labels < 2).astype(int))
    assert (nested[labels < 2][:, :2] == 0).all() and (nested[labels >= 2][:, 2:] == 0).all()
    assert nested.sum(axis=1) == pytest.approx(np.ones(60))


def test_nesting_holds_out_speakers_when_folds_differ_and_speakers_are_known():
    folds = np.array([np.arange(40) % 4, np.arange(40) // 10])
    speakers = [f"s{i % 7}" for i in range(40)]
    groups, sentence = nesting_groups(folds, speakers)
    assert "speakers" in sentence
    assert all(len(set(groups[np.array(speakers) == name])) == 1 for name in set(speakers))
    assert len(set(groups.tolist())) == 5


def test_error_correlation_equals_numpys_and_is_none_for_a_member_without_errors():
    oof, labels = random_members(5, 3)
    oof = np.concatenate([oof, np.eye(6)[labels][None]])
    wrong = (oof.argmax(axis=2) != labels).astype(float)
    ours = error_correlation(oof, labels)
    assert ours[0][2] == pytest.approx(np.corrcoef(wrong[0], wrong[2])[0, 1])
    assert ours[0][3] is None and ours[3][3] is None
    assert len(error_correlation(oof[:1], labels)) == 1
