"""Command line and YAML files to a checked config (and the name of outputs/X, where none is given), and back: the later
over the earlier.

YAML files (`--config`, several may be layered) override the defaults, the command line (`--train.epochs 3`) overrides the files. One
grammar for every command: keys are written with underscores (dashes mean the same), lists given twice join, anything else is given once.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, get_loader, set_loader, set_parsing_settings

from ser.config.experiment import Config
from ser.config.explaining import explain
from ser.runtime.errors import UserError
from ser.runtime.files import write_text

set_parsing_settings(docstring_parse_attribute_docstrings=True)

MOST_VALUES = 10_000
_load_yaml = get_loader("yaml")


def _load_plain(text: str) -> Any:
    """YAML without the keys by which jsonargparse imports and calls what a config names: a stranger's must not run code."""
    value = _load_yaml(text)
    waiting, seen = [value], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:  # a few lines of aliases can unfold to billions, or lead round in a circle
            raise UserError(f"a config of more than {MOST_VALUES} values can't be meant.")
        if isinstance(part, dict) and "class_path" in part:
            raise UserError("class_path is no key of a config: it holds plain values, none of which can name code to run.")
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    sections = {part.name for part in dataclasses.fields(Config)}
    # jsonargparse would take a text for a class and import its module.
    if isinstance(value, dict) and (wrong := [name for name in value if name in sections and isinstance(value[name], str)]):
        raise UserError(f"{wrong[0]}: given {value[wrong[0]]!r}; it is a section and must hold keys, e.g. {wrong[0]}: {{key: value}}.")
    return value


set_loader("yaml", _load_plain, (yaml.YAMLError,))


def build_parser(
    command: str, description: str, sections: Sequence[str] | None = None, usage: str = "--config FILE.yaml [--section.key value ...]"
) -> ArgumentParser:
    """An argument parser with `--config` and the keys of the sections named (all of them by default).

    usage: what follows the command's name in the first line of `--help`.
    """
    return copy.deepcopy(_built_once(command, description, None if sections is None else tuple(sections), usage))


@cache  # it takes twice as long as parsing
def _built_once(command: str, description: str, sections: tuple[str, ...] | None, usage: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"python -m ser.{command}",
        usage=f"python -m ser.{command} {usage}",
        description=description,
        exit_on_error=False,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file; several are layered, later ones win.")
    for section in dataclasses.fields(Config):
        if sections is None or section.name in sections:
            parser.add_class_arguments(section.default_factory, section.name)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of a command's description, so that its example commands can be copied."""


def add_list(parser: ArgumentParser, name: str, help: str) -> None:
    """An option that holds values with commas between; given again, it adds to them."""
    parser.add_argument(name, type=str, help=help).joins = True


ALSO_CALLED = {"--cache": "--data.cache"}
"""A short name of an option, where a command has the long one."""


def read_words(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Parse the command line without making sections of it. Raises UserError naming the key, what was given and what is allowed."""
    try:
        return parser.parse_args(_config_files_first(_each_once(parser, _by_their_names(parser, with_underscores(argv)))))
    except (ArgumentError, argparse.ArgumentError, TypeError, ValueError) as error:
        raise UserError(explain(parser, str(error))) from None


def parse(parser: ArgumentParser, argv: Sequence[str]) -> tuple[Config, Namespace]:
    """Parse the command line. Returns the checked config and the namespace with the command's own arguments.

    Raises UserError naming the key, what was given and what is allowed.
    """
    namespace = read_words(parser, argv)
    try:
        objects = at_home(parser.instantiate(namespace))
    except (ArgumentError, argparse.ArgumentError, TypeError, ValueError) as error:
        raise UserError(explain(parser, str(error))) from None
    # A command's own argument may have a section's name (`--model FOLDER`): only sections are taken.
    sections = {part.name: objects.get(part.name) for part in dataclasses.fields(Config)}
    config = Config(**{name: value for name, value in sections.items() if dataclasses.is_dataclass(value)})
    if config.run.output is None:
        files = [Path(str(path)) for path in (namespace.get("config") or [])]
        config.run.output = str(Path("outputs") / ("+".join(file.stem for file in files) if files else "run"))
    return config, objects


def save_config(config: Config, path: str | os.PathLike) -> None:
    """Write the whole resolved config as YAML."""
    write_text(path, yaml.safe_dump(as_plain(config), sort_keys=False, allow_unicode=True))


def load_config(path: str | os.PathLike) -> Config:
    """Read a config written by `save_config` (or any YAML of the same keys)."""
    return read_config_words(["--config", str(path)])


def read_config_words(words: Sequence[str]) -> Config:
    """The config that `parse` makes of the words."""
    return parse(build_parser("train", ""), words)[0]


def as_plain(value: Any) -> Any:
    """Dataclasses as plain dicts, lists, strings and numbers, ready for YAML or JSON."""
    if dataclasses.is_dataclass(value):
        return {part.name: as_plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    # jsonargparse's restricted numbers are subclasses of int and float, which YAML would tag as objects.
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def flat(tree: dict, prefix: str = "") -> dict:
    """A plain config as {section.key: value}."""
    values = {}
    for key, value in tree.items():
        if isinstance(value, dict) and prefix.count(".") < 2:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def with_underscores(argv: Sequence[str]) -> list[str]:
    """The words with `--allow-missing-folds` as `--allow_missing_folds`; values stay as they are."""
    words = []
    for word in argv:
        name, equals, value = word.partition("=")
        words.append(f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word)
    return words


def key_words(argv: Sequence[str]) -> list[tuple[str, str]]:
    """(key, value) of the keys of sections on the command line, in order: those with a dot, `--data.root DIR` or `--data.root=DIR`."""
    words, found = iter(with_underscores(argv)), []
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--") and "." in name:
            found.append((name[2:], value if equals else next(words, "")))
    return found


def _by_their_names(parser: ArgumentParser, argv: Sequence[str]) -> list[str]:
    """The words with the long name of each option that was given by a short one."""
    words = []
    for word in argv:
        name, equals, value = word.partition("=")
        known = ALSO_CALLED.get(name) in parser._option_string_actions and name not in parser._option_string_actions
        words.append(f"{ALSO_CALLED[name]}{equals}{value}" if known else word)
    return words


def _each_once(parser: ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Join what is a list and was given again; refuse anything else that was given again, of which one would be dropped."""
    kept, place, words = [], {}, iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        action = parser._option_string_actions.get(name)
        if action is None or name == "--config" or action.nargs is not None:
            kept.append(word)
            continue
        value = value if equals else next(words, None)
        if value is None:
            kept.append(word)
        elif name not in place:
            place[name] = len(kept)
            kept.append(f"{name}={value}")
        elif getattr(action, "joins", False):
            kept[place[name]] += f",{value}"
        else:
            raise UserError(f"{name}: given twice, as {kept[place[name]].partition('=')[2]} and {value}; allowed is one value.")
    return kept


def at_home(value: Any) -> Any:
    """Every text that begins with `~/` as the path it means: the shell leaves it as it is in `--key=~/x` and in a YAML file."""
    if isinstance(value, str):
        return str(Path(value).expanduser()) if value.startswith("~/") else value
    if dataclasses.is_dataclass(value) or isinstance(value, argparse.Namespace):
        for name, part in list(vars(value).items()):
            setattr(value, name, at_home(part))
    elif isinstance(value, list):
        return [at_home(part) for part in value]
    return value


def _config_files_first(argv: Sequence[str]) -> list[str]:
    """Move `--config X` to the front, so that a key on the command line wins wherever it stands."""
    files, rest, words = [], [], iter(argv)
    for word in words:
        if word == "--config":
            files += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith("--config="):
            files.append(word)
        else:
            rest.append(word)
    return files + rest
