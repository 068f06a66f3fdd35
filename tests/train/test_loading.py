"""Batches that a thread makes ahead: the same ones in the same order, errors where they belong, and no thread left."""

import threading
import time

import pytest

from ser.train.loading import _ahead


def loading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loading")]


def test_batches_come_in_their_order_and_each_is_made_while_the_one_before_is_at_work():
    made = []

    def batches():
        for number in range(5):
            made.append((number, threading.current_thread().name))
            yield number

    seen = []
    for number in _ahead(batches()):
        time.sleep(0.05)
        assert len(made) == min(number + 2, 5), "one ahead, no more"
        seen.append(number)
    assert seen == [0, 1, 2, 3, 4]
    assert all(name.startswith("loading") for _, name in made)
    assert not loading_threads()


def test_an_error_comes_with_the_batch_that_has_it():
    def batches():
        yield "whole"
        raise RuntimeError("a clip that can't be read")

    ahead = _ahead(batches())
    assert next(ahead) == "whole"
    with pytest.raises(RuntimeError, match="can't be read"):
        next(ahead)
    assert not loading_threads()


def test_the_thread_ends_with_an_epoch_that_is_left():
    ahead = _ahead(iter(range(10)))
    next(ahead)
    assert loading_threads()
    del ahead
    assert not loading_threads()
