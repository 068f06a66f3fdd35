"""The words on the screen: cleaned, broken into lines, and kept from acting as formatting codes.

Subtitle formats have no common way to write a brace or a backslash as itself: what libass takes for an escape, other players and
converters show or obey. So braces are shown as their full-width forms ｛ ｝, and where a sign would begin a code, an invisible word
joiner (U+2060) is put behind it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

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


def wrap(text: str, width: int) -> list[str]:
    """Break a cleaned text at blanks into lines of at most `width` columns; a longer word is broken between its letters."""
    if columns(text) <= width:
        return [text] if text else []
    lines, line, used = [], "", 0
    for word in text.split(" "):
        for piece in [word] if columns(word) <= width else _pieces(word, width):
            size = columns(piece)
            if line and used + 1 + size > width:
                lines.append(line)
                line, used = piece, size
            else:
                line, used = (f"{line} {piece}", used + 1 + size) if line else (piece, size)
    return [*lines, line] if line else lines


def balanced(text: str, width: int) -> list[str]:
    """Like `wrap`, with lines of near-equal length: the narrowest width that needs no more lines."""
    widest = wrap(text, width)
    count = len(widest)
    if count < 2:
        return widest
    low, high = -(-columns(text) // count), width
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(wrap(text, middle)) <= count else (middle + 1, high)
    return wrap(text, low)


@lru_cache(maxsize=100_000)
def _columns(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _pieces(word: str, width: int) -> list[str]:
    """A word that is too long, cut where a new visible sign begins."""
    # A sign without width, and one after a zero-width joiner (families of emoji), belongs to the sign before it.
    starts = [place for place, sign in enumerate(word) if place == 0 or (_columns(sign) and word[place - 1] != "\u200d")]
    pieces, used = [""], 0
    for start, end in pairwise([*starts, len(word)]):
        size = columns(word[start:end])
        if pieces[-1] and used + size > width:
            pieces.append("")
            used = 0
        pieces[-1] += word[start:end]
        used += size
    return pieces
