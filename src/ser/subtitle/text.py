"""Texts as they are shown: cleaned, measured in columns, and kept from acting as formatting codes in ASS, SRT and VTT.

Subtitle formats have no common way to write a brace or a backslash as itself: what libass takes for an escape, other players and
converters show or obey. So braces are shown as their full-width forms ｛ ｝, and where a sign would begin a code, an invisible word
joiner (U+2060) is put behind it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

JOINER = "\u2060"
HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]")
CODE = re.compile(r"\\(?=[Nnh]|$)")
TAG = re.compile(r"<(?=\s*/?\s*[^\W\d_])")
CLOCK = re.compile(r"(\d{2}:)(?=\d{2}[.,]\d)")


def clean(text: str) -> str:
    """One line: white space of any kind becomes single blanks; control signs and half surrogate pairs, which no file may hold, go.

    Letters of any script, emoji, joiners and direction marks stay.
    """
    if not text.isprintable():
        text = "".join(sign for sign in text if sign.isspace() or unicodedata.category(sign) not in ("Cc", "Cs"))
    return " ".join(text.split())


def inert(line: str) -> str:
    """A cleaned line in which nothing is an ASS override tag or an ASS escape, for any renderer."""
    return CODE.sub(lambda found: found[0] + JOINER, line.replace("{", "｛").replace("}", "｝"))


def inert_in_srt(line: str) -> str:
    """Like `inert`, and nothing is an HTML tag, an arrow or a time stamp either."""
    line = TAG.sub("<" + JOINER, inert(line)).replace("-->", f"--{JOINER}>")
    return CLOCK.sub(rf"\1{JOINER}", line)


def inert_in_vtt(line: str) -> str:
    """Like `inert`, with WebVTT's own escapes for &, < and >."""
    line = CLOCK.sub(rf"\1{JOINER}", inert(line))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def columns(text: str) -> int:
    """Width on the screen: 2 for wide letters (Hangul, Han, kana, emoji), 1 for others, 0 for marks that combine or don't show."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def is_korean(text: str) -> bool:
    """Whether most of its letters are Hangul."""
    return not text.isascii() and 2 * len(HANGUL.findall(text)) > sum(map(str.isalpha, text))


@lru_cache(maxsize=100_000)
def _columns(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1
