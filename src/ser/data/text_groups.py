"""Which texts say the same sentence, for splits that keep a sentence on one side, and how far sentences give the emotion away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ser.data.text_input import tidy

SHORTEST_NEAR = 8
"""Letters from which on a difference in one of them is a variant and no other sentence."""
TELLING_SHARE = 0.05


def text_groups(texts: Sequence[str]) -> np.ndarray:
    """(n,) int: equal for texts that are the same but for case, blanks, punctuation and one letter; -1 for empty texts.

    One letter: replaced, missing or added in a text of at least SHORTEST_NEAR letters. Two such texts become equal when the letter in
    question is taken out of them (of one of them), which finds all pairs in time proportional to the letters.
    """
    letters = ["".join(letter for letter in tidy(text).casefold() if letter.isalnum()) or tidy(text) for text in texts]
    names = {text: number for number, text in enumerate(dict.fromkeys(letters))}
    parent = list(range(len(names)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    with_one_out: dict[str | tuple[str, int], int] = {}
    for text, number in names.items():
        if len(text) < SHORTEST_NEAR:
            continue
        keys = [text, *((text[:place] + text[place + 1 :], place) for place in range(len(text)))]
        for key in [*keys, *(shorter for shorter, _ in keys[1:] if shorter in names)]:
            parent[root(number)] = root(with_one_out.setdefault(key, number))
    return np.array([root(names[text]) if text else -1 for text in letters], np.int64)


def describe_leak(texts: Sequence[str], labels: np.ndarray, folds: np.ndarray) -> str | None:
    """A warning where texts alone answer for many clips: their sentence stands in other folds too, there with this label only."""
    groups = text_groups(texts)
    told = 0
    for group in set(groups.tolist()) - {-1}:
        rows = np.flatnonzero(groups == group)
        for row in rows:
            elsewhere = labels[rows[folds[rows] != folds[row]]]
            told += bool(len(elsewhere)) and bool((elsewhere == labels[row]).all())
    if told < TELLING_SHARE * len(texts):
        return None
    return (
        f"the texts give the emotion away: the sentence of {told} of {len(texts)} clips also stands in other folds, there always with the "
        f"same emotion ({len(set(groups.tolist()) - {-1})} sentences in all). A model that reads answers these from memory; "
        "--cv.split text keeps each sentence in one fold."
    )
