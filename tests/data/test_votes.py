"""Columns of annotators' votes: what becomes of them, and what can be wrong with them."""

import numpy as np
import pytest
from scipy.stats import entropy

from ser.config import DataConfig
from ser.data.csv_input import read_csv_input
from ser.data.tables import read_dataset
from ser.data.votes import cross_entropy, read_votes, told_votes, vote_columns
from ser.runtime.errors import UserError


def read(tmp_path, text, labels="auto"):
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    return read_votes(read_csv_input(tmp_path / "train.csv"), labels)


def test_the_majority_is_the_label_and_a_tie_has_none(tmp_path):
    votes, names = read(tmp_path, "id,votes_angry,votes_기쁨,votes_sad\na,3,1,0\nb,2,2,1\nc,,5,\n")
    assert names == ("angry", "sad", "happy")
    np.testing.assert_allclose(votes.shares, [[3 / 4, 0, 1 / 4], [2 / 5, 1 / 5, 2 / 5], [0, 0, 1]])
    assert votes.labels.tolist() == [0, 0, 2] and votes.clear.tolist() == [True, False, True]


def test_a_label_column_is_right_where_it_is_filled_in(tmp_path):
    votes, names = read(tmp_path, "id,label,votes_angry,votes_sad,votes_happy\na,sad,3,1,0\nb,,2,2,0\nc,angry,,,\nd,sad,1,1,0\n")
    assert names == ("angry", "sad", "happy")
    assert votes.labels.tolist() == [1, 0, 0, 1] and votes.clear.tolist() == [True, False, True, True]
    assert votes.shares[2].tolist() == [1, 0, 0]  # nobody voted


def test_integer_labels_and_shares_go_together(tmp_path):
    votes, names = read(tmp_path, "id,label,p_0,p_neutral,p_5,p_value\na,4,0.2,0.6,0.2,7\nb,,0.5,0.5,0,9\n")
    assert names[4] == "neutral" and len(names) == 6
    np.testing.assert_allclose(votes.shares[0], [0.2, 0, 0, 0, 0.6, 0.2])
    assert votes.clear.tolist() == [True, False]


def test_a_table_keeps_its_votes_and_one_without_has_none(tmp_path):
    (tmp_path / "clips.csv").write_text("id,text,votes_angry,votes_sad\na,x,2,1\nb,y,1,1\nc,z,0,2\n")
    table = read_dataset(DataConfig(root=str(tmp_path / "clips.csv"))).train
    assert table.scored.tolist() == [True, False, True]
    part = table.take(np.array([2, 1]))
    assert part.votes.tolist() == [[0, 1], [0.5, 0.5]] and part.scored.tolist() == [True, False] and part.labels.tolist() == [1, 0]
    (tmp_path / "plain.csv").write_text("id,text,label,p_value\na,x,sad,0.3\nb,y,angry,0.7\n")
    plain = read_dataset(DataConfig(root=str(tmp_path / "plain.csv"))).train
    assert plain.votes is None and plain.scored.all()
    assert vote_columns(read_csv_input(tmp_path / "plain.csv"), "auto") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,votes_angry,p_sad\na,1,0.5\n", "keep the votes or the shares"),
        ("id,votes_angry,votes_sad\na,two,1\n", "a vote isn't a number"),
        ("id,votes_angry,votes_sad\na,-1,1\n", "row 2. Allowed are numbers from 0"),
        ("id,votes_angry,votes_sad\na,0,\nb,1,0\n", "1 row with neither a label nor a vote: row 2"),
        ("id,p_angry,p_sad\na,0.9,0.4\nb,1,0\n", "don't sum to one in row 2"),
        ("id,votes_happy,votes_joy\na,1,1\n", "two columns of votes name the same label"),
        ("id,votes_angry,votes_chair\na,1,1\n", "votes_chair|chair"),
        ("id,label,votes_angry,votes_sad\na,7,1,1\n", "out of range"),
    ],
)
def test_wrong_votes_are_told_with_their_row(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        read(tmp_path, text)


def test_cross_entropy_is_scipys_entropy_plus_divergence():
    rng = np.random.default_rng(0)
    shares, probabilities = rng.dirichlet(np.ones(6), 20), rng.dirichlet(np.ones(6), 20)
    assert cross_entropy(shares, probabilities) == pytest.approx(np.mean(entropy(shares, axis=1) + entropy(shares, probabilities, axis=1)))
    told = told_votes(shares, probabilities, 3)
    assert told["entropy"] == pytest.approx(entropy(shares, axis=1).mean())
    assert told["prior"] == pytest.approx(cross_entropy(shares, np.tile(shares.mean(0), (20, 1)))) and told["unclear"] == 3
