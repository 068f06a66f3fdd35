"""Leaks: equal audio and shared speakers, counted by hand."""

from pathlib import Path

import numpy as np

from ser.data.duplicates import describe_duplicates, find_duplicates
from ser.data.tables import Table

TRAIN = Table(tuple("abcdef"), tuple(map(Path, "abcdef")), np.array([0, 0, 1, 1, 2, 2]), ("k", "l", "k", "m", "m", "m"))
TEST = Table(tuple("uvw"), tuple(map(Path, "uvw")))
NAMES = ("angry", "fear", "sad")


def kinds(findings):
    return [(finding.kind, finding.ids) for finding in findings]


def test_distinct_audio_gives_no_finding():
    findings = find_duplicates(TRAIN, list("123456"), None, TEST, list("789"))
    assert findings == []
    assert describe_duplicates(findings) == "No duplicate audio found."


def test_every_kind_of_leak_is_found():
    folds = np.array([0, 1, 0, 1, 1, 1])
    findings = find_duplicates(TRAIN, ["x", "x", "x", "y", "y", "z"], folds, TEST, ["z", "w", "w"], NAMES)
    assert kinds(findings) == [
        ("train_test", ("f", "u")),
        ("across_folds", ("a", "b", "c")),
        ("different_labels", ("a", "b", "c")),
        ("different_labels", ("d", "e")),
        ("within_fold", ("d", "e")),
        ("within_test", ("v", "w")),
    ]
    text = describe_duplicates(findings)
    assert "same audio in train and test: 1" in text
    assert "a (fold 0), b (fold 1), c (fold 0)" in text
    assert "a (angry), b (angry), c (fear)" in text


def test_a_speaker_in_two_folds_is_found():
    findings = find_duplicates(TRAIN, list("123456"), np.array([0, 1, 1, 2, 2, 2]))
    assert kinds(findings) == [("speaker_across_folds", ("a", "c"))]
    assert "k: 2 clips in folds 0, 1" in describe_duplicates(findings)


def test_unusable_clips_without_a_hash_are_equal_to_nothing():
    assert find_duplicates(TRAIN, ["", "", None, float("nan"), float("nan"), "z"], None, TEST, ["", None, "q"]) == []


def test_a_long_report_is_cut_and_says_so():
    ids = tuple(f"c{row}" for row in range(20))
    train = Table(ids, tuple(map(Path, ids)))
    text = describe_duplicates(find_duplicates(train, [str(row // 2) for row in range(20)]))
    assert "same audio twice in train, not across folds: 10" in text
    assert text.endswith("and 5 more")
