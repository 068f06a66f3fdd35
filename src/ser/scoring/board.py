"""What a leaderboard's noise does to the choice of a submission, by simulation from out-of-fold answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def simulate_board(
    correct: Mapping[str, np.ndarray],
    test_clips: int,
    speakers: Sequence[str] | None = None,
    public_share: float = 0.3,
    draws: int = 2_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Competitions that might have been: one row per draw, columns out_of_fold, public and private by candidate (two levels).

    correct: {candidate: bool (N,)}, whether its out-of-fold answer to each training clip is right. In each draw the training clips and
    `test_clips` test clips are drawn anew (with replacement) from these clips, the same ones for all candidates; whole speakers are drawn
    where they are known, because a voice is easy or hard as a whole. The public board shows `public_share` of the test clips.
    """
    rng = np.random.default_rng(seed)
    hits = np.array([np.asarray(values, dtype=float) for values in correct.values()])
    count = hits.shape[1]
    voices = None if speakers is None else [np.flatnonzero(np.asarray(speakers) == name) for name in sorted(set(speakers))]
    public = max(1, round(public_share * test_clips))
    found = np.empty((draws, 3, len(hits)))
    for draw in found:
        test = rng.permutation(_drawn(rng, count, test_clips, voices))
        for place, rows in enumerate((_drawn(rng, count, count, voices), test[:public], test[public:])):
            draw[place] = hits[:, rows].mean(axis=1)
    columns = pd.MultiIndex.from_product([("out_of_fold", "public", "private"), correct])
    return pd.DataFrame(found.reshape(draws, -1), columns=columns)


def picking(board: pd.DataFrame) -> pd.DataFrame:
    """What each way of picking one candidate brings on the private board, in a table of `simulate_board`.

    Index: by out-of-fold score, by public score, by both (their mean), at random, hindsight. Columns: private (mean private accuracy of the
    pick) and best (how often no other candidate has a higher private score).
    """
    parts = {name: board[name].to_numpy() for name in ("out_of_fold", "public", "private")}
    private = parts["private"]
    ways = {
        "by out-of-fold score": parts["out_of_fold"],
        "by public score": parts["public"],
        "by the mean of both": parts["out_of_fold"] + parts["public"],
    }
    every = np.arange(len(private))
    # The first candidate wins a tie, as it stands in the list.
    rows = {way: private[every, values.argmax(axis=1)] for way, values in ways.items()}
    rows |= {"at random": private.mean(axis=1), "in hindsight": private.max(axis=1)}
    best = private.max(axis=1)
    share = {way: (picked == best).mean() for way, picked in rows.items()}
    share["at random"] = (private == best[:, None]).mean()
    return pd.DataFrame({"private": {way: picked.mean() for way, picked in rows.items()}, "best": share})


def _drawn(rng: np.random.Generator, count: int, wanted: int, voices: Sequence[np.ndarray] | None) -> np.ndarray:
    """`wanted` of `count` rows with replacement: clip by clip, or voice by voice until there are enough."""
    if voices is None:
        return rng.integers(count, size=wanted)
    rows = [voices[voice] for voice in rng.integers(len(voices), size=1 + wanted // min(map(len, voices)))]
    return np.concatenate(rows)[:wanted]
