"""Texts that somebody else made: a file's encoding, signs that nobody can see, and the tidy form in which models read a sentence."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

from ser.runtime.errors import UserError

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060"))
"""Byte-order marks and zero-width spaces, which copies from web pages and joined files leave in texts. The zero-width joiners stay:
emoji and some scripts need them."""


def decode_text(path: Path) -> str:
    """The text of a file in UTF-8 or cp949, or in UTF-16 or UTF-32 that begins with its mark. Raises UserError."""
    data = path.read_bytes()
    marked = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), None)
    body = data.rstrip(b"\0")
    if marked is None and body.count(0) > len(body) / 4:
        raise UserError(f"{path}: UTF-16 without its byte-order mark, or no text at all. Save it as UTF-8.")
    for encoding in (marked,) if marked else ("utf-8", "cp949"):
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: not text in UTF-8 or cp949. Save it as UTF-8 (a spreadsheet file such as .xlsx can't be read).")


def visible(text: str) -> str:
    """The text without its invisible signs."""
    return text.translate(INVISIBLE)


def tidy(text: str) -> str:
    """The text in composed form (NFC: macOS decomposes Hangul), runs of blanks and line ends as one blank, without invisible signs."""
    return " ".join(unicodedata.normalize("NFC", visible(text)).split())
