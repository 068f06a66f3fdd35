"""The simulated leaderboard, beside what can be reckoned without simulating."""

import numpy as np
import pytest

from ser.scoring.board import picking, simulate_board


def answers(accuracy: float, count: int = 600, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(count) < accuracy * count)


def test_scores_vary_as_the_binomial_says():
    board = simulate_board({"only": answers(0.75)}, test_clips=300, draws=3_000)
    for part, clips in (("out_of_fold", 600), ("public", 90), ("private", 210)):
        assert board[part]["only"].mean() == pytest.approx(0.75, abs=0.005)
        assert board[part]["only"].std() == pytest.approx(np.sqrt(0.75 * 0.25 / clips), rel=0.06)


def test_voices_that_are_hard_as_a_whole_make_scores_vary_more():
    hard = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 60).astype(bool)
    speakers = [f"speaker {row // 60}" for row in range(600)]
    by_clip, by_voice = (simulate_board({"only": hard}, 300, who, draws=500)["private"]["only"].std() for who in (None, speakers))
    assert by_voice > 3 * by_clip


def test_all_candidates_are_judged_on_the_same_clips():
    right = answers(0.7)
    board = simulate_board({"one": right, "twin": right, "opposite": ~right}, 200, draws=50)
    for part in ("out_of_fold", "public", "private"):
        assert np.array_equal(board[part]["one"], board[part]["twin"])
        assert np.allclose(board[part]["one"] + board[part]["opposite"], 1)


def test_the_larger_sample_picks_better_and_nothing_beats_hindsight():
    rng = np.random.default_rng(1)
    right = answers(0.74)
    candidates = {f"{number}": right ^ (rng.random(600) < 0.06 + 0.004 * number) for number in range(6)}
    ways = picking(simulate_board(candidates, 300, draws=1_000))
    assert ways.loc["by out-of-fold score", "private"] > ways.loc["by public score", "private"] > ways.loc["at random", "private"]
    assert (ways["private"] <= ways.loc["in hindsight", "private"]).all()
    assert ways.loc["in hindsight", "best"] == 1


def test_a_candidate_that_is_always_better_is_always_picked():
    right = answers(0.6)
    ways = picking(simulate_board({"worse": right & (np.arange(600) % 2 == 0), "better": right}, 300, draws=200))
    assert ways.loc[["by out-of-fold score", "by public score", "by the mean of both"], "best"].tolist() == [1, 1, 1]


def test_board_of_any_size_from_few_and_uneven_voices():
    board = simulate_board({"only": np.array([True, False, True])}, 50, ["a", "a", "b"], draws=20)
    assert board.notna().all(axis=None)
    assert board["private"]["only"].between(0, 1).all()
