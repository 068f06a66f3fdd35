"""How emotions look: fonts, colours and sizes, from a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import yaml

from ser.data.labels import LABEL_SETS
from ser.runtime.errors import UserError

LABELS = LABEL_SETS["subtitle7"]
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
NAME = re.compile(r"[^,;\n\r{}\\]{1,60}")  # what a field of an ASS style can hold


@dataclass(frozen=True)
class Look:
    """How one emotion looks. colour and outline_colour: #RRGGBB; size, outline and shadow: pixels of a picture 1080 high."""

    colour: str
    font: str
    size: float
    outline: float
    outline_colour: str
    shadow: float
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True)
class Theme:
    """A look for each emotion, fonts in the order in which they are wished for, the margin at the edges in pixels, and for each language
    (en, ko) what is said of an emotion for the deaf (SDH)."""

    fonts: tuple[str, ...]
    margin: int
    looks: Mapping[str, Look]
    sdh: Mapping[str, Mapping[str, str]]


def load_theme(name: str) -> Theme:
    """The theme `default`, or that of a YAML file; what a file leaves out is as in the default. Raises UserError naming the key."""
    default = yaml.safe_load((files("ser.subtitle") / "themes" / "default.yaml").read_text(encoding="utf-8"))
    if name == "default":
        return _theme(default, "default")
    path = Path(name)
    if not path.is_file():
        raise UserError(f"subtitles.theme: given {name!r}; allowed are default and a YAML file.")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(given, dict) or not isinstance(given.get("emotions", {}), dict):
        raise UserError(f"{path}: a theme holds keys, e.g. size: 64, and a section emotions.")
    _check_keys(given, default, path, "")
    emotions = {label: default["emotions"][label] | _section(given.get("emotions", {}).get(label), path, label) for label in LABELS}
    _check_keys(given.get("emotions", {}), emotions, path, "emotions.")
    sdh = {language: default["sdh"][language] | _tags(given, language, path) for language in default["sdh"]}
    return _theme({**default, **given, "emotions": emotions, "sdh": sdh}, str(path))


def _theme(content: dict, where: str) -> Theme:
    fonts = content["fonts"]
    if not isinstance(fonts, list) or not fonts or not all(isinstance(font, str) and NAME.fullmatch(font) for font in fonts):
        raise UserError(f"{where}: fonts: given {fonts!r}; it is a list of font names, without commas in them.")
    common = {"font": fonts[0]} | {key: content[key] for key in ("size", "outline", "outline_colour", "shadow")}
    looks = {label: _look({**common, **content["emotions"][label]}, where, label) for label in LABELS}
    return Theme(tuple(fonts), round(_number(content["margin"], where, "margin")), looks, content["sdh"])


def _tags(given: dict, language: str, path: Path) -> dict[str, str]:
    """What a file says of the emotions in one language."""
    section = given.get("sdh") or {}
    own = section.get(language) or {} if isinstance(section, dict) else section
    if not isinstance(own, dict) or not all(isinstance(text, str) for text in own.values()):
        raise UserError(f"{path}: sdh.{language}: given {own!r}; it holds a text per emotion, e.g. sdh: {{en: {{sad: sobbing}}}}.")
    _check_keys(section, ("en", "ko"), path, "sdh.")
    _check_keys(own, LABELS, path, f"sdh.{language}.")
    return own


def _look(values: dict, where: str, label: str) -> Look:
    checked = {}
    for part in fields(Look):
        key, value = part.name, values.get(part.name, part.default)
        if key.endswith("colour"):
            if not isinstance(value, str) or not COLOUR.fullmatch(value):
                raise UserError(f'{where}: {label}.{key}: given {value!r}; a colour is written "#RRGGBB", in quotes.')
        elif key == "font":
            if not isinstance(value, str) or not NAME.fullmatch(value):
                raise UserError(f"{where}: {label}.font: given {value!r}; a font's name has no commas.")
        elif key in ("bold", "italic"):
            if not isinstance(value, bool):
                raise UserError(f"{where}: {label}.{key}: given {value!r}; allowed are true and false.")
        else:
            value = _number(value, where, f"{label}.{key}")
        checked[key] = value
    return Look(**checked)


def _number(value: object, where: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1000:
        raise UserError(f"{where}: {key}: given {value!r}; allowed is a number from 0 to 1000.")
    return float(value)


def _section(value: object, path: Path, label: str) -> dict:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: emotions.{label}: given {value!r}; it holds keys, e.g. {label}: {{colour: '#FFFFFF'}}.")
    _check_keys(value, {part.name for part in fields(Look)}, path, f"emotions.{label}.")
    return value


def _check_keys(given: Mapping, known, path: Path, prefix: str) -> None:
    for key in given:
        if key not in known:
            raise UserError(f"{path}: {prefix}{key}: no such key. There are {', '.join(sorted(known))}.")
