import os
import signal
import time

import pytest

from ser.errors import UserError
from ser.training.stopping import MARGIN_SECONDS, Stopper, seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("50m", 3000), ("1.5h", 5400), ("1h30m", 5400)])
def test_budget_is_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "50", "m", "5 m", "50x", "-3m"])
def test_a_budget_without_sense_is_refused(text):
    with pytest.raises(UserError, match="50m"):
        seconds_of(text)


def test_a_signal_is_taken_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with Stopper() as stopper:
        assert stopper.reason is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert "SIGTERM" in stopper.reason
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_budget_counts_from_the_start_of_train_sh(monkeypatch):
    monkeypatch.setenv("SER_STARTED", str(time.time() - 100))
    assert Stopper("105s").reason is not None  # 5 seconds left are less than the margin for the last checkpoint
    assert Stopper(f"{int(100 + MARGIN_SECONDS + 60)}s").reason is None
