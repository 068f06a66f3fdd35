"""Seeds are a function of names, not of how a name came here."""

import numpy as np
import pytest

from ser.config import build_parser, parse
from ser.runtime.seeds import seed_of


@pytest.mark.parametrize("words", [[], ["--run.seed", "0"], ["--run.seed=0"]])
def test_a_seed_that_is_given_is_the_seed_that_is_the_default(words):
    config, _ = parse(build_parser("train", ""), ["--config", "configs/demo.yaml", *words])
    assert seed_of(config.run.seed, "folds") == seed_of(0, "folds") == seed_of(np.int64(0), "folds")


def test_numbers_and_texts_and_their_order_are_told_apart():
    names = [(0, "a"), ("0", "a"), ("a", 0), (0, "a", 1), (0, "a1"), (1, "a")]
    assert len({seed_of(*name) for name in names}) == len(names)
