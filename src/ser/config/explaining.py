"""What a wrong word or key is told: what was given, what is allowed, and the nearest known key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from jsonargparse import ArgumentParser


def explain(parser: ArgumentParser, message: str) -> str:
    """jsonargparse's message on one line: the key, what was given, what is allowed; beside an unknown key the nearest known one."""
    told = " ".join(message.split())
    for pattern, better in _PLAINER:
        told = re.sub(pattern, better, told)
    if any(word in told for word in ("unrecognized", "not accept", "not expected")):
        known = [option[2:] for option in parser._option_string_actions if option.startswith("--")]
        for word in re.findall(r"""(?:--|['"])([\w.]+)""", told):
            if word not in known and (near := _nearest(word, known)):
                return f"{told}. Did you mean {near}? --help lists every key."
    return f"{told}. --help lists every key with its type and default."


_PLAINER = (
    (r'Parser key "([\w.]+)":', r"--\1:"),
    (
        r"Does not validate against any of the Union subtypes .* Errors: - (.*) - Expected a <class 'NoneType'> .* value: (.*)",
        r"\1. Got value: \2",
    ),
    (r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)", r"given \2; allowed are \1"),
    (r"Expected an? <class 'list'>\. Got value: (.*)", r"given \1; allowed is a list, e.g. [\1]"),
    (r"Expected an? <class '(\w+)'>\. Got value: (.*)", r"given \2; allowed is a value of type \1"),
    (r"Not of type \w+: (\S+) does not conform to restriction (.*)", r"given \1; allowed is \2"),
    (r"Not of type \w+: does not conform to restriction (\S+)\. Got value: (.*)", r"given \2; allowed is \1"),
    (r"Not of type (\w+): invalid literal for .*: '(.*)'", r"given \2; allowed is \1"),
    (r"(given .*; allowed .*)\. Got value: .*", r"\1"),
    (r"argument (--[\w.]+): expected one argument", r"\1: given nothing; one value is needed"),
)
"""jsonargparse's words, and what is said in their place; in this order."""


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The known key most like a wrong one, in whole or in its last part."""
    tails = {key.split(".")[-1]: key for key in known}
    whole = difflib.get_close_matches(name, known, 1, 0.75)
    return next(iter(whole or [tails[tail] for tail in difflib.get_close_matches(name.split(".")[-1], tails, 1, 0.75)]), None)
