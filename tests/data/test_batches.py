import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser.config import AugmentConfig, GainConfig, NoiseConfig
from ser.data import batches
from ser.data.augmentation import Augmenter
from ser.data.batches import PreparedClips, balanced_draws, copy_of, load_batches, prediction_batches, row_of, training_groups
from ser.data.inputs import Store as RealStore
from ser.data.utterance import Utterance

lengths = st.lists(st.integers(1, 80_000), min_size=1, max_size=200).map(np.array)


class Store:
    """Clips of given lengths, each with its own number as content."""

    def __init__(self, frames):
        self.frames = np.asarray(frames)

    def __getitem__(self, row):
        return Utterance(np.full(self.frames[row], (row + 1) / 1000, dtype=np.float32), id=f"clip{row}")


class Frontend:
    def prepare(self, clip):
        return clip.samples

    def collate(self, clips):
        return {"input_values": torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)}


@given(lengths, st.integers(1, 40), st.integers(0, 5))
def test_every_clip_is_trained_on_once_an_epoch_and_none_is_dropped(frames, size, seed):
    groups = training_groups(frames, np.arange(len(frames)), size, seed)
    assert sorted(row for group in groups for row in group) == list(range(len(frames)))
    assert max(map(len, groups)) <= size


@given(lengths, st.integers(1, 40), st.booleans())
def test_drop_last_never_outside_training_every_clip_is_predicted_once(frames, size, exact):
    batches = prediction_batches(frames, np.arange(len(frames)), size, exact)
    assert sorted(row for batch in batches for row in batch) == list(range(len(frames)))
    if exact:
        assert all(len({int(frames[row]) for row in batch}) == 1 for batch in batches)


def test_order_depends_on_the_seed_only_and_changes_with_it():
    frames = np.random.default_rng(0).integers(20_000, 80_000, 300)
    rows = np.arange(300)
    assert training_groups(frames, rows, 8, 1) == training_groups(frames, rows, 8, 1)
    assert training_groups(frames, rows, 8, 1) != training_groups(frames, rows, 8, 2)


def test_batches_differ_between_epochs_in_content_not_only_in_order():
    frames = np.random.default_rng(0).integers(20_000, 80_000, 300)
    first, second = ({frozenset(group) for group in training_groups(frames, np.arange(300), 8, seed)} for seed in (1, 2))
    assert len(first & second) < len(first) / 4


def test_near_equal_lengths_waste_little_padding():
    frames = np.random.default_rng(0).integers(20_000, 80_000, 5000)
    groups = training_groups(frames, np.arange(5000), 8, 0)
    padded = sum(frames[group].max() * len(group) for group in groups)
    assert 1 - frames.sum() / padded < 0.03


def test_the_longest_clips_are_predicted_first():
    frames = np.array([5, 50, 20, 40])
    assert prediction_batches(frames, np.arange(4), 2, exact_length=False) == [[1, 3], [2, 0]]


def augmented(workers, batches, epoch=1, by_draw=False):
    config = AugmentConfig(gain=GainConfig(p=1.0), noise=NoiseConfig(p=1.0))
    store = Store([2000] * 6)
    clips = PreparedClips(store, Frontend(), Augmenter(config), seed=7, epoch=epoch)
    loaded = [
        (row, wave) for rows, batch in load_batches(clips, batches, workers) for row, wave in zip(rows, batch["input_values"], strict=True)
    ]
    return [wave for _, wave in loaded] if by_draw else {int(row): wave for row, wave in loaded}


def test_same_augmentation_whatever_the_workers_and_batches_but_another_every_epoch():
    alone = augmented(0, [[i] for i in range(6)])
    together = augmented(2, [[5, 1, 3], [0, 2, 4]])
    assert all(torch.equal(alone[row], together[row]) for row in range(6))
    assert not torch.equal(alone[0], augmented(0, [[0]], epoch=2)[0])
    assert not torch.equal(alone[0] / alone[0].abs().max(), alone[1] / alone[1].abs().max())


class CountingFeatures(Frontend):
    """A frontend with features of its own that are the same for all folds: one number a clip, times what the fold multiplies them by."""

    features_name = "the loudest sample"

    def __init__(self, factor):
        self.factor, self.computed = factor, 0

    def features(self, samples):
        self.computed += 1
        return samples.max(keepdims=True)

    def prepare(self, clip, features=None):
        return (self.features(clip.samples) if features is None else features) * self.factor


def test_features_of_clips_that_stay_the_same_are_computed_once_for_all_epochs_and_folds(monkeypatch):
    clips = [np.full(100, level, np.int16) for level in (100, 200, 300)]
    store, folds = RealStore.of_samples(clips), [CountingFeatures(1), CountingFeatures(2)]
    for frontend in folds:
        for epoch in (0, 1):
            prepared = PreparedClips(store, frontend, epoch=epoch)
            assert [prepared[row][1][0] for row in range(3)] == [clip.max() / 2**15 * frontend.factor for clip in clips]
    assert [frontend.computed for frontend in folds] == [3, 0]
    louder = PreparedClips(store, folds[0], Augmenter(AugmentConfig(gain=GainConfig(p=1.0))), seed=1)
    assert louder[0][1][0] != clips[0].max() / 2**15, "what augmentation changes has features of its own"
    assert folds[0].computed == 4
    monkeypatch.setattr(batches, "MOST_KEPT", 2 * 4)
    few = RealStore.of_samples([np.full(100, level, np.int16) for level in (1, 2, 3)])
    for _ in range(2):
        prepared = PreparedClips(few, folds[1])
        assert [prepared[row][1][0] * 2**15 for row in range(3)] == [2, 4, 6]
    assert folds[1].computed == 4, "two are kept, the third is computed each time"


@given(st.lists(st.integers(0, 3), min_size=4, max_size=120).map(np.array), st.integers(0, 2**31))
def test_balanced_draws_give_every_label_the_same_share_and_use_all_its_clips_evenly(labels, seed):
    rows = np.arange(1, len(labels))  # a fold's training part is not the whole table
    draws = balanced_draws(labels, rows, seed)
    assert len(draws) == len(rows)
    drawn = row_of(draws, len(labels))
    assert set(drawn) <= set(rows)
    shares = np.bincount(labels[drawn], minlength=4)[np.unique(labels[rows])]
    assert shares.max() - shares.min() <= 1
    for label in np.unique(labels[rows]):
        times = np.bincount(drawn, minlength=len(labels))[rows[labels[rows] == label]]
        assert times.max() - times.min() <= 1, "some clips of a label come more often than others"
    for row in set(drawn):
        assert sorted(copy_of(draws[drawn == row], len(labels))) == list(range((drawn == row).sum()))


def test_balanced_draws_depend_on_the_seed_only():
    labels = np.array([0] * 20 + [1] * 3)
    assert np.array_equal(balanced_draws(labels, np.arange(23), 1), balanced_draws(labels, np.arange(23), 1))
    assert not np.array_equal(balanced_draws(labels, np.arange(23), 1), balanced_draws(labels, np.arange(23), 2))


def test_draws_are_grouped_by_the_length_of_their_clip():
    frames = np.array([1000, 5000])
    groups = training_groups(frames, np.arange(400), 8, 0)
    mixed = [group for group in groups if len(set(row_of(np.array(group), 2).tolist())) > 1]
    assert len(mixed) <= 5, "one at the border of each pool of 12 groups"


def test_every_copy_of_a_clip_is_augmented_differently_and_the_first_as_ever():
    copies = augmented(0, [[0], [6], [12]], by_draw=True)
    assert torch.equal(copies[0], augmented(0, [[0]])[0])
    assert not torch.equal(copies[0], copies[1])
    assert not torch.equal(copies[1], copies[2])
