"""What a wrong word or key is told: what was given, what is allowed, and the nearest known key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ser.config.ranges import in_words


def explain(parser: ArgumentParser, message: str) -> str:
    """jsonargparse's message on one line: the key, what was given, what is allowed; beside an unknown key the nearest known one."""
    told = _wrong_value(" ".join(message.split()))
    if any(word in told for word in ("unrecognized", "not accept", "not expected")):
        known = [option[2:] for option in parser._option_string_actions if option.startswith("--")]
        for word in re.findall(r"""(?:--|['"])([\w.]+)""", told):
            if word not in known and (near := _nearest(word, known)):
                return f"{told}. Did you mean {near}? --help lists every key."
    return f"{told}. --help lists every key with its type and default."


_NO_VALUE = re.compile(r"argument (--[\w.]+): expected one argument")
_WRONG_VALUE = re.compile(r'Parser key "([\w.]+)": (.*)')
_GIVEN = re.compile(
    r"Given value: (?P<any>.*)$|Got value: (?P<one>.*)$|Not of type \w+: (?P<number>\S+) does not conform"
    r"|Not of type \w+: (?:invalid literal|could not convert)[^']*'(?P<text>[^']*)'|not 'NoneType'"
)
"""jsonargparse's words for what was given; the last of them for nothing."""
_ALLOWED = re.compile(r"Not of type (?P<number>\w+)|Expected an? typing\.Literal\[(?P<words>.*?)\]|Expected an? <class '(?P<type>\w+)'>")
"""jsonargparse's words for what is allowed; one of them for each form that a value may have."""
_TYPES = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text", "dict": "keys, e.g. {key: value}"}


def _wrong_value(told: str) -> str:
    """A message on a wrong value in our words; another one as it is, but for the name of its key."""
    if missing := _NO_VALUE.search(told):
        return f"{missing[1]}: given nothing; one value is needed"
    if not (wrong := _WRONG_VALUE.fullmatch(told)):
        return told
    key, rest = wrong.groups()
    given, forms = _GIVEN.search(rest), [form for form in _ALLOWED.finditer(rest) if form["type"] != "NoneType"]
    if not given or not forms:
        return f"--{key}: {rest}"
    value = next(filter(None, given.groups()), "nothing")
    if len(forms) == 1 and forms[0]["words"]:
        return f"--{key}: given {value}; allowed are {forms[0]['words']}"
    return f"--{key}: given {value}; allowed is {', or '.join(dict.fromkeys(_form(form, value) for form in forms))}"


def _form(form: re.Match, value: str) -> str:
    """One form that a value may have."""
    if form["number"]:
        return in_words(form["number"])
    if form["words"]:
        return form["words"].replace(", ", " or ")
    return f"a list, e.g. [{value}]" if form["type"] == "list" else _TYPES.get(form["type"], f"a value of type {form['type']}")


def plain_value(value: object) -> str:
    """A value as it stands in a config: true, null, [0, 1]; an empty list by its name."""
    if isinstance(value, str):
        return value
    return "an empty list" if value == [] else json.dumps(value, ensure_ascii=False, default=str)


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The known key most like a wrong one, in whole or in its last part."""
    tails = {key.split(".")[-1]: key for key in known}
    whole = difflib.get_close_matches(name, known, 1, 0.75)
    return next(iter(whole or [tails[tail] for tail in difflib.get_close_matches(name.split(".")[-1], tails, 1, 0.75)]), None)
