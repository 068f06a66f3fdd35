import pytest

from ser.config import RunConfig
from ser.config.ranges import seconds_of
from ser.runtime.errors import UserError


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("50m", 3000), ("1.5h", 5400), ("1h30m", 5400)])
def test_budget_is_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "50", "m", "5 m", "50x", "-3m"])
def test_a_budget_without_sense_is_refused(text):
    with pytest.raises(UserError, match=r"run\.time_budget: given .* 50m"):
        RunConfig(time_budget=text)
