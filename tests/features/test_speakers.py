"""Finding speakers and normalising by them, on voices made of numbers and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from ser.features.speakers import (
    POOLED,
    SpeakerNormalizer,
    SpeakerSpace,
    cluster_voices,
    find_speakers,
    finding,
    held_out_distance,
    nearest_speakers,
    take_out_emotion,
)
from ser.runtime.errors import UserError


def voices(speakers: int, clips: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Clips of speakers that differ in 20 of 60 features: (n, 60), (n,)."""
    rng = np.random.default_rng(seed)
    centers = np.zeros((speakers, 60))
    centers[:, :20] = rng.normal(0, 4, (speakers, 20))
    owner = np.repeat(np.arange(speakers), clips)
    return centers[owner] + rng.normal(0, spread, (len(owner), 60)), owner


def test_known_and_new_voices_are_found():
    features, owner = voices(10, 30)
    known = owner < 6
    train, rest = known & (np.arange(300) % 2 == 0), ~(known & (np.arange(300) % 2 == 0))
    space = SpeakerSpace.fit(features[train], owner[train])
    found = find_speakers(space.project(features[rest]), space.means, space.counts)
    assert adjusted_rand_score(owner[rest], found) == 1
    np.testing.assert_array_equal(found[owner[rest] < 6], owner[rest][owner[rest] < 6])
    assert set(found[owner[rest] >= 6]) == {6, 7, 8, 9}


def test_finding_does_not_depend_on_the_order_of_the_clips():
    features, owner = voices(6, 20, spread=2.0)
    space = SpeakerSpace.fit(features[owner < 4], owner[owner < 4])
    points = space.project(features)
    order = np.random.default_rng(1).permutation(len(points))
    first, second = (find_speakers(values, space.means, space.counts) for values in (points, points[order]))
    assert adjusted_rand_score(first[order], second) == 1


def test_a_single_clip_goes_to_the_nearest_known_speaker_and_so_does_a_small_group():
    features, owner = voices(5, 20)
    space = SpeakerSpace.fit(features[owner < 4], owner[owner < 4])
    points = space.project(features[owner == 4][: finding.SMALLEST - 1])
    assert set(find_speakers(points, space.means, space.counts)) <= {0, 1, 2, 3}
    for point in space.project(features):
        nearest = np.linalg.norm(point - space.means, axis=1).argmin()
        assert find_speakers(point[None], space.means, space.counts) == nearest


def test_a_clip_of_no_training_voice_is_given_to_none_and_others_do_not_matter():
    features, owner = voices(10, 40)
    known = owner < 7
    train = known & (np.arange(400) % 4 > 0)
    space, near = SpeakerSpace.fit(features[train], owner[train]), held_out_distance(features[train], owner[train])
    points = space.project(features[~train])
    found = nearest_speakers(points, space.means, near)
    of_known = owner[~train] < 7
    assert (found[~of_known] == POOLED).all()
    assert (found[of_known] != POOLED).mean() > 0.6
    assert np.isin(found[of_known], [POOLED]).sum() + (found[of_known] == owner[~train][of_known]).sum() == of_known.sum()
    alone = [nearest_speakers(point[None], space.means, near)[0] for point in points]
    np.testing.assert_array_equal(found, alone)


def test_voices_without_names_are_found_though_emotion_moves_them_more():
    """What an emotion adds is taken out by the labels; without that, the groups found are emotions."""
    features, owner = voices(6, 48)
    labels = np.random.default_rng(1).integers(0, 4, len(owner))
    moved = features + 10 * np.random.default_rng(2).normal(size=(4, 60))[labels]
    without = take_out_emotion(moved, labels)
    assert adjusted_rand_score(owner, cluster_voices(without[:, :30], without)) > 0.95
    assert adjusted_rand_score(owner, cluster_voices(moved[:, :30], moved)) < 0.5


def test_too_few_clips_to_find_voices_among_are_refused():
    with pytest.raises(UserError, match="10 training clips"):
        cluster_voices(np.ones((10, 4)), np.ones((10, 4)))


def test_clustering_from_single_clips_equals_wards_of_scikit_learn():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(8, 3))[np.repeat(np.arange(8), 15)] * 15 + rng.normal(size=(120, 3)) * 3
    far_away = np.full((1, 3), 1e5)
    # Ward's distance of scikit-learn is the root of twice the increase of the sum of squares.
    expected = AgglomerativeClustering(n_clusters=None, distance_threshold=np.sqrt(2 * finding.HEIGHT)).fit_predict(points)
    assert adjusted_rand_score(expected, finding._ward(points, far_away, np.ones(1))) == 1


def test_known_speakers_never_merge():
    points = np.random.default_rng(0).normal(size=(30, 2))
    means = np.array([[0, 0], [0.1, 0], [0, 0.1]])
    assert set(find_speakers(points, means, np.full(3, 20))) == {0, 1, 2}


def test_axes_have_a_within_speaker_variance_of_about_one():
    features, owner = voices(8, 60)
    points = SpeakerSpace.fit(features, owner).project(features)
    within = np.mean([np.cov(points[owner == speaker].T) for speaker in range(8)], axis=0)
    np.testing.assert_allclose(np.diag(within), 1, atol=0.1)
    assert np.abs(within - np.diag(np.diag(within))).max() < 0.1


def test_one_speaker_is_refused():
    with pytest.raises(UserError, match="two speakers or more"):
        SpeakerSpace.fit(np.random.default_rng(0).normal(size=(20, 5)), np.zeros(20, int))


def test_normalisation_by_hand():
    rng = np.random.default_rng(0)
    train, owner = rng.normal(size=(40, 2)) * [1, 5] + 3, np.repeat([0, 1], 20)
    train[owner == 1] += 2
    normalizer, normalised = SpeakerNormalizer.fit(train, owner)
    z = (train - train.mean(0)) / train.std(0)
    by_hand = np.vstack([(z[owner == k] - z[owner == k].mean(0)) / z[owner == k].std(0) for k in (0, 1)])
    by_hand = (by_hand - by_hand.mean(0)) / by_hand.std(0)
    np.testing.assert_allclose(normalised, by_hand, atol=1e-6)
    # Clips of a known speaker add to the training clips' mean and spread, those of a new one make their own.
    more = rng.normal(size=(35, 2)) + 4
    speakers = np.repeat([1, 2], [15, 20])
    zm = (more - train.mean(0)) / train.std(0)
    joint = np.vstack([z[owner == 1], zm[:15]])
    expected = np.vstack([(zm[:15] - joint.mean(0)) / joint.std(0), (zm[15:] - zm[15:].mean(0)) / zm[15:].std(0)])
    got = normalizer.normalize(more, speakers)
    np.testing.assert_allclose(got * normalizer.std_after + normalizer.mean_after, expected, atol=1e-6)


def test_clips_of_unknown_or_rare_voices_are_compared_with_all_voices():
    train, owner = voices(4, 20)
    normalizer, _ = SpeakerNormalizer.fit(train, owner)
    unknown = normalizer.normalize(train[:3], np.full(3, POOLED))
    rare = normalizer.normalize(train[:3], np.full(3, 9))
    np.testing.assert_array_equal(unknown, rare)
    standard = normalizer.standardize(train[:3])
    np.testing.assert_allclose(unknown, np.clip((standard - normalizer.mean_after) / normalizer.std_after, -5, 5))


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_a_new_voice_of_another_level_and_spread_comes_out_the_same(seed, scale, shift):
    """What is taken out is exactly a speaker's own mean and spread, as long as nothing is clipped."""
    train, owner = voices(3, 20, seed)
    normalizer, _ = SpeakerNormalizer.fit(train, owner)
    small = np.random.default_rng(seed).normal(size=(20, 60)) * normalizer.std * 0.5 + normalizer.mean
    other = (small - normalizer.mean) * np.clip(scale, 0.5, 2) + normalizer.mean + np.clip(shift, -1, 1) * normalizer.std
    first, second = (normalizer.normalize(values, np.full(20, 3)) for values in (small, other))
    np.testing.assert_allclose(first, second, atol=1e-6)
