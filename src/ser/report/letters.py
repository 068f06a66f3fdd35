"""Letters that matplotlib's own font lacks (Hangul in names of labels): from another font that is installed, else in Latin letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ser.data.labels import english, is_emotion
from ser.runtime.progress import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_SPECIAL = re.compile("bold|black|heavy|medium|light|thin|serif|mono|coding|oblique|italic", re.IGNORECASE)
_FOREIGN = re.compile(r"[^\x00-\x7f]+(?: [^\x00-\x7f]+)*")


def make_readable(figure: Figure) -> None:
    """Let every text of a figure, which nothing is added to any more, be seen as letters and not as boxes."""
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    lacking = letters_lacking(text.get_text() for text in texts)
    if not lacking:
        return
    if font := _font_or_word(lacking):
        for text in texts:
            text.set_fontfamily([*text.get_fontfamily(), font])
        return
    _in_latin(figure, texts)


def as_drawn(names: Sequence[str]) -> list[str]:
    """The names as `make_readable` will show them, for a picture that makes room for them beforehand."""
    lacking = letters_lacking(names)
    return list(names) if not lacking or _font_or_word(lacking) else list(map(latin, names))


def letters_lacking(texts: Iterable[str]) -> frozenset[str]:
    """The letters that matplotlib's own font doesn't have."""
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    letters = {letter for text in texts for letter in text if not letter.isascii()}
    if not letters:
        return frozenset()
    own = FT2Font(findfont(FontProperties()))
    return frozenset(letter for letter in letters if not own.get_char_index(ord(letter)))


@cache
def font_with(letters: frozenset[str]) -> str | None:
    """The name of an installed font that has all these letters, made known to matplotlib, whose own list may be older; None for none."""
    from matplotlib.font_manager import findSystemFonts, fontManager, ttfFontProperty
    from matplotlib.ft2font import FT2Font

    for path in sorted(findSystemFonts(), key=lambda path: (bool(_SPECIAL.search(Path(path).name)), path)):
        try:
            font = FT2Font(path)
            if all(font.get_char_index(ord(letter)) for letter in letters):
                fontManager.addfont(path)
                return ttfFontProperty(font).name
        except (RuntimeError, OSError):  # a broken file, or a form that FreeType doesn't read
            continue
    return None


def latin(text: str) -> str:
    """Emotions by their English names, other Hangul as it is spoken, syllable by syllable; the rest as it stands."""
    return _FOREIGN.sub(lambda found: _spoken(found[0]), unicodedata.normalize("NFC", text))


def _spoken(word: str) -> str:
    if is_emotion(word):
        return english(word)
    names = [unicodedata.name(letter, "") for letter in word]
    heard = [name.removeprefix("HANGUL SYLLABLE ").lower() if "HANGUL SYLLABLE" in name else "" for name in names]
    return "".join(sound or letter for sound, letter in zip(heard, word, strict=True))


def _in_latin(figure: Figure, texts: list[Text]) -> None:
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ticks = axis.get_ticklabels()
        if any(tick in texts for tick in ticks):  # the axis writes its ticks again when they are drawn
            axis.set_ticklabels([latin(tick.get_text()) for tick in ticks])
    for text in texts:
        text.set_text(latin(text.get_text()))


def _font_or_word(letters: frozenset[str]) -> str | None:
    """The font that has them; where there is none, the user is told, once."""
    font = font_with(letters)
    if font is None:
        _tell()
    return font


@cache
def _tell() -> None:
    say("no installed font has all letters of the names: pictures show them in Latin ones. A font for them helps, e.g. fonts-nanum.")
