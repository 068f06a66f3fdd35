"""What values a key may have, beyond jsonargparse's own number types, how such a type is told to people, and how long 1h30m is."""

import operator
import re

from jsonargparse import typing as number_types
from jsonargparse.typing import restricted_number_type

from ser.runtime.errors import UserError

# Not Any: jsonargparse would import and call what a value of that type names.
PlainValue = bool | int | float | str | list[int] | list[float] | list[str] | None
HalfOpenUnit = restricted_number_type("HalfOpenUnit", float, [(">=", 0), ("<", 1)])
Decibels = restricted_number_type("Decibels", float, [(">=", -80), ("<=", 80)])
Amplitude = restricted_number_type("Amplitude", float, [(">", 0), ("<=", 1)])
# Slower than 0.67 would make a clip more than half as long again; below 1/2 the stretcher also draws from its own generator.
StretchRate = restricted_number_type("StretchRate", float, [(">=", 0.67), ("<=", 1.5)])
Semitones = restricted_number_type("Semitones", float, [(">=", -12), ("<=", 12)])
CenterHz = restricted_number_type("CenterHz", float, [(">=", 50), ("<=", 7000)])
Reflections = restricted_number_type("Reflections", int, [(">=", 1), ("<=", 12)])
ClippedPercent = restricted_number_type("ClippedPercent", int, [(">=", 0), ("<=", 90)])
BitRate = restricted_number_type("BitRate", int, [(">=", 24), ("<=", 320)])

_LIMITS = {operator.ge: "of {} or more", operator.gt: "above {}", operator.le: "of {} or less", operator.lt: "below {}"}


def in_words(name: str) -> str:
    """What a number type allows, by its name (PositiveInt, BitRate): a whole number of 1 or more, a number from 24 to 320."""
    own = getattr(number_types, name)  # jsonargparse keeps those that are made here, too
    whole = own._type is int
    limits = [(operator.ge, limit + 1) if whole and how is operator.gt else (how, limit) for how, limit in own._restrictions]
    number = "a whole number" if whole else "a number"
    if [how for how, _ in limits] == [operator.ge, operator.le]:
        return f"{number} from {limits[0][1]} to {limits[1][1]}"
    return f"{number} {' and '.join(_LIMITS[how].format(limit) for how, limit in limits)}"


def seconds_of(text: str) -> float:
    """`90s`, `50m`, `1.5h` or `1h30m`, of run.time_budget, in seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"run.time_budget: given {text!r}; allowed are numbers with s, m or h, e.g. 90s, 50m, 1h30m.")
    return sum(float(number) * {"s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)
