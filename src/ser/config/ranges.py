"""What values a key may have, beyond jsonargparse's own number types; and how long 1h30m is."""

import re

from jsonargparse.typing import restricted_number_type

from ser.runtime.errors import UserError

# Not Any: jsonargparse would import and call what a value of that type names.
PlainValue = bool | int | float | str | list[int] | list[float] | list[str] | None
FoldCount = restricted_number_type("FoldCount", int, (">=", 2))
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


def seconds_of(text: str) -> float:
    """`90s`, `50m`, `1.5h` or `1h30m`, of run.time_budget, in seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"run.time_budget: given {text!r}; allowed are numbers with s, m or h, e.g. 90s, 50m, 1h30m.")
    return sum(float(number) * {"s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)
