"""Folds: what a split promises, and the file that keeps it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.config import FoldsConfig
from ser.config.data import ALWAYS_TRAINED
from ser.data.folds import make_folds, read_or_make_folds, write_folds
from ser.data.tables import Table
from ser.runtime.errors import UserError

NAMES = ("angry", "fear", "sad")


def clips(labels, speakers=None) -> Table:
    ids = tuple(f"C{row:03d}" for row in range(len(labels)))
    return Table(ids, tuple(map(Path, ids)), np.array(labels, dtype=np.int64), None if speakers is None else tuple(speakers))


def actors(count=10, takes=3) -> Table:
    """Every speaker says every label `takes` times."""
    rows = [(label, f"S{speaker}") for speaker in range(count) for label in range(3) for _ in range(takes)]
    return clips([label for label, _ in rows], [speaker for _, speaker in rows])


def without_speakers(train: Table) -> Table:
    return Table(train.ids, train.paths, train.labels)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(5, 20), min_size=2, max_size=6), st.integers(2, 5), st.integers(0, 2**31))
def test_stratified_folds_share_out_every_class_evenly(counts, n, seed):
    train = clips(np.repeat(np.arange(len(counts)), counts))
    folds, _ = make_folds(train, FoldsConfig(n=n), seed)
    assert sorted(set(folds.tolist())) == list(range(n))
    for label in range(len(counts)):
        sizes = np.bincount(folds[train.labels == label], minlength=n)
        assert sizes.max() - sizes.min() <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(5, 12), st.integers(2, 5), st.integers(0, 2**31))
def test_speaker_folds_keep_each_speaker_in_one_fold_and_every_label_in_every_fold(speakers, n, seed):
    train = actors(speakers, takes=2)
    folds, sentence = make_folds(train, FoldsConfig(n=n), seed)
    assert pd.Series(folds).groupby(np.array(train.speakers)).nunique().max() == 1
    assert (pd.crosstab(folds, train.labels) > 0).all(axis=None)
    assert "speaker-disjoint" in sentence


def test_folds_follow_from_the_seed_and_not_from_the_order_of_rows():
    train = actors()
    shuffled = np.random.default_rng(0).permutation(len(train))
    for part in (train, without_speakers(train)):
        folds, _ = make_folds(part, FoldsConfig(), 3)
        again, _ = make_folds(part.take(shuffled), FoldsConfig(), 3)
        other, _ = make_folds(part, FoldsConfig(), 4)
        assert np.array_equal(folds[shuffled], again)
        assert not np.array_equal(folds, other)


def test_making_folds_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is looked at
    make_folds(actors(), FoldsConfig(), 0)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_sentence_is_read_off_the_split():
    train = actors()
    assert make_folds(train, FoldsConfig(), 0)[1] == "5-fold, speaker-disjoint (10 speakers), stratified by label"
    assert make_folds(train, FoldsConfig(split="stratified"), 0)[1] == (
        "5-fold, stratified by label; not speaker-disjoint (10 of 10 speakers are in more than one fold)"
    )
    assert (
        "speakers are unknown, so whether they are disjoint between folds cannot be checked"
        in (make_folds(without_speakers(train), FoldsConfig(), 0)[1])
    )


@pytest.mark.parametrize(
    ("train", "config", "message"),
    [
        (clips([0] * 9 + [1] * 4 + [2] * 9), FoldsConfig(), r"5 folds, but fewer clips of fear \(4\).*--cv.n to 4 or less"),
        (
            clips([0] * 9 + [1] + [2] * 3),
            FoldsConfig(),
            r"fear \(1\), sad \(3\)\. Every class needs a clip per fold: add clips of it, take",
        ),
        (clips([0] * 9), FoldsConfig(), "all 9 training clips have one label"),
        (actors(3), FoldsConfig(), r"5 folds, but 3 speakers.*--cv.split stratified, or set --cv.n to 3 or less"),
        (actors(1, takes=9), FoldsConfig(), r"5 folds, but 1 speaker\. "),
        (clips([0, 1] * 9), FoldsConfig(split="speaker"), r"--data.speakers"),
        (clips([0] * 9 + [1] * 9 + [2] * 9, [f"S{row % 9}" for row in range(18)] + ["A"] * 9), FoldsConfig(), r"all clips of sad \(fold"),
        (Table(("a",), (Path("a"),)), FoldsConfig(), "no labels"),
    ],
)
def test_a_split_that_cannot_be_made_is_one_message(train, config, message):
    with pytest.raises(UserError, match=message):
        make_folds(train, config, 0, NAMES)


def test_speakers_too_few_for_folds_can_still_be_split_by_label():
    folds, _ = make_folds(actors(1, takes=9), FoldsConfig(split="stratified"), 0)
    assert len(set(folds.tolist())) == 5


# --- folds.csv ---


def test_written_folds_are_read_back_whatever_the_seed(tmp_path):
    train = actors()
    path = tmp_path / "folds.csv"
    folds, sentence = read_or_make_folds(path, train, FoldsConfig(), 0)
    assert not path.exists()
    write_folds(path, train, folds)
    assert path.read_text().splitlines()[:2] == ["id,fold", f"C000,{folds[0]}"]
    shuffled = np.random.default_rng(1).permutation(len(train))
    again, read_sentence = read_or_make_folds(path, train.take(shuffled), FoldsConfig(), 99)
    assert np.array_equal(again, folds[shuffled])
    assert read_sentence == sentence


def test_ids_with_zeros_commas_and_korean_survive_the_file(tmp_path):
    ids = ("0012", "12", "a,b", '"q"', "가/나.wav", "=1+1", "nan", " s")
    train = Table(ids, tuple(map(Path, ids)), np.array([0, 1] * 4))
    folds, _ = make_folds(train, FoldsConfig(n=2), 0)
    write_folds(tmp_path / "folds.csv", train, folds)
    assert np.array_equal(read_or_make_folds(tmp_path / "folds.csv", train, FoldsConfig(n=2), 0)[0], folds)


def saved(folder: Path, train: Table, folds, name="folds.csv") -> Path:
    write_folds(folder / name, train, np.asarray(folds))
    return folder / name


def test_a_split_given_by_file_is_used_and_a_split_of_the_run_must_agree_with_it(tmp_path):
    train = actors()
    given = saved(tmp_path, train, np.arange(len(train)) % 5, "given.csv")
    config = FoldsConfig(file=str(given), split="stratified")
    folds, sentence = read_or_make_folds(tmp_path / "folds.csv", train, config, 0)
    assert folds.tolist() == (np.arange(len(train)) % 5).tolist()
    assert "not speaker-disjoint" in sentence
    own = saved(tmp_path, train, folds)
    assert np.array_equal(read_or_make_folds(own, train, config, 0)[0], folds)
    saved(tmp_path, train, (folds + 1) % 5)
    with pytest.raises(UserError, match=r"another split than cv\.file"):
        read_or_make_folds(own, train, config, 0)


def test_a_split_may_name_clips_that_were_left_out_and_no_others(tmp_path):
    train = actors()
    path, used = saved(tmp_path, train, np.arange(90) % 3), train.take(np.arange(1, 90))
    config = FoldsConfig(n=3, file=str(path))
    folds, _ = read_or_make_folds(tmp_path / "no.csv", used, config, 0, left_out=[train.ids[0]])
    assert folds.tolist() == [row % 3 for row in range(1, 90)]
    with pytest.raises(UserError, match=r"was made for other clips: 1 id in it that is no training clip"):
        read_or_make_folds(tmp_path / "no.csv", used, config, 0)


def test_clips_held_out_for_one_model_are_no_folds(tmp_path):
    train = actors()
    path = saved(tmp_path, train, np.where(np.arange(90) % 3 == 0, 0, ALWAYS_TRAINED))
    folds, sentence = read_or_make_folds(tmp_path / "no.csv", train, FoldsConfig(n=1, file=str(path)), 0)
    assert sentence.startswith("30 of 90 clips held out, ") and sorted(set(folds)) == [ALWAYS_TRAINED, 0]
    saved(tmp_path, train, np.zeros(90, int))
    with pytest.raises(UserError, match=r"no clip that is always trained on \(fold -1\)"):
        read_or_make_folds(tmp_path / "no.csv", train, FoldsConfig(n=1, file=str(path)), 0)
    saved(tmp_path, train, np.where(train.labels == 2, 0, ALWAYS_TRAINED))
    with pytest.raises(UserError, match="are held out, so the model would be trained without that class"):
        read_or_make_folds(tmp_path / "no.csv", train, FoldsConfig(n=1, file=str(path)), 0)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (
            lambda text: text.replace("C003,", "X,"),
            FoldsConfig(),
            r"1 training clip not in it \(C003\), 1 id in it that is no training clip \(X\)",
        ),
        (lambda text: text + "C001,0\n", FoldsConfig(), "1 id more than once: C001"),
        (lambda text: text.replace("id,fold", "id,part"), FoldsConfig(), "no column fold"),
        (lambda text: text.rsplit("C089,", 1)[0] + "C089,7\n", FoldsConfig(), "fold 7; cv.n is 5, so folds are 0 to 4"),
        (lambda text: text.rsplit("C089,", 1)[0] + "C089,-1\n", FoldsConfig(), "fold -1"),
        (lambda text: text.rsplit("C089,", 1)[0] + "C089,one\n", FoldsConfig(), "fold one"),
        (lambda text: text, FoldsConfig(n=4), "fold 4; cv.n is 4"),
        (lambda text: text, FoldsConfig(n=6), "no clip in fold 5, but cv.n is 6"),
        (lambda text: "", FoldsConfig(), "the file is empty"),
    ],
)
def test_a_folds_file_that_does_not_fit_says_what_to_do(tmp_path, change, config, message):
    train = actors()
    path = saved(tmp_path, train, make_folds(train, FoldsConfig(), 0)[0])
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        read_or_make_folds(path, train, config, 0)


def test_a_folds_file_that_mixes_speakers_is_refused_where_speaker_folds_are_asked_for(tmp_path):
    train = actors()
    path = saved(tmp_path, train, np.arange(len(train)) % 5)
    with pytest.raises(UserError, match=r"10 speakers are in more than one fold.*start_over"):
        read_or_make_folds(path, train, FoldsConfig(split="speaker"), 0)


def test_a_named_folds_file_must_be_there(tmp_path):
    with pytest.raises(UserError, match=r"cv\.file: .*nowhere\.csv is not a file"):
        read_or_make_folds(tmp_path / "folds.csv", actors(), FoldsConfig(file=str(tmp_path / "nowhere.csv")), 0)
