"""Where a text is broken: into subtitles, and into lines, where its sense allows it.

As subtitlers do it: after marks rather than between words, not behind an article, a preposition or another word that leans on the next one,
and in parts of near-equal length. Dynamic programming takes the cheapest way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from ser.subtitle.text import columns

SENTENCE, CLAUSE = re.compile(r"[.?!…。？！][\"'”’」』)\]]*$"), re.compile(r"[,;:，、—–-][\"'”’)\]]*$")
AT_SENTENCE, AT_CLAUSE, BETWEEN_WORDS, LEANING = 0.0, 0.3, 1.0, 2.5
UNEVEN = 3.0  # what a part of double the mean length costs
LEANS_ON_NEXT = re.compile(
    r"(an?|the|th(is|at|ese|ose)|my|y?our|his|her|its|their|of|to|in|on|at|by|for|from|with|without|into|about|and|or|but|nor|so|if|as|than"
    r"|because|when|while|who|which|i|you|s?he|it|we|they|is|are|was|were|be|been|am|ha(ve|s|d)|do(es)?|did|will|would|can|could|shall"
    r"|should|may|might|must|not|no|\w+n't|very|too|more|most|m(r|rs|s)\.|dr\."
    r"|[\[(][^\])]*"  # a tag for the deaf, or a name, that ends in a later word
    r"|\S*[있없하되같]는|이|그|저|한|두|세|네|몇|안|못|더|잘|꼭|좀|참|너무|정말|매우|아주|가장|모든|어떤|무슨|새|첫|및|또|또는|그런|이런|저런)$",
    re.IGNORECASE,
)
LEANS_ON_LAST = re.compile(
    r"(수|이상|이하|정도|것|거|게|걸|건|줄|때|뿐|만큼|대로|채|듯|척|등|리|적|중|후|뒤|전)(이|은|는|을|를|도|에|만|의|가|로|까지|부터|입니다|이다)?$|있|없|않|못하|싶"
)


def into_subtitles(text: str, width: int, lines: int, least: int = 1) -> list[list[str]]:
    """A cleaned text as the lines of one subtitle or several, each of at most `lines` lines of `width` columns.

    least: how many subtitles it is to become at least, where it has so many words.
    """
    if least == 1 and columns(text) <= width:
        return [[text]] if text else []
    words = text.split(" ")
    if any(columns(word) > width for word in words):
        return _evenly(text, width, lines)
    most = len(words)
    fits = lru_cache(maxsize=None)(lambda first, last: len(wrap(" ".join(words[first:last]), width)) <= lines)
    count = min(max(least, -(-len(wrap(text, width)) // lines)), most)
    while (parts := _parts(words, count, width * lines, fits)) is None:
        count += 1
    return [into_lines(words[first:last], width) for first, last in parts]


def into_lines(words: Sequence[str], width: int) -> list[str]:
    """Words as the fewest lines of at most `width` columns, broken at sense."""
    count = len(wrap(" ".join(words), width))
    parts = _parts(words, count, width, lambda first, last: columns(" ".join(words[first:last])) <= width)
    return [" ".join(words[first:last]) for first, last in parts]


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


def _parts(words: Sequence[str], count: int, room: int, fits: Callable[[int, int], bool]) -> list[tuple[int, int]] | None:
    """The cheapest way to cut words into `count` parts (first, one past the last) that fit; None where there is none. room: columns."""
    edges = [0]
    for word in words:
        edges.append(edges[-1] + columns(word) + 1)
    mean = edges[-1] / count
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for number in range(1, count + 1):
        ways: dict[int, tuple[float, int]] = {}
        for first, (cost, _) in best[-1].items():
            for last in range(first + 1, len(words) - (count - number) + 1):
                size = edges[last] - edges[first] - 1
                if size > room or not fits(first, last):
                    break
                total = cost + UNEVEN * ((size - mean) / mean) ** 2 + (_break_cost(words, last) if last < len(words) else 0.0)
                if last not in ways or total < ways[last][0]:
                    ways[last] = (total, first)
        best.append(ways)
    if len(words) not in best[-1]:
        return None
    cuts = [len(words)]
    for ways in reversed(best[1:]):
        cuts.append(ways[cuts[-1]][1])
    return list(pairwise(reversed(cuts)))


def _break_cost(words: Sequence[str], place: int) -> float:
    """What it costs to break before this word."""
    last, following = words[place - 1], words[place]
    if LEANS_ON_NEXT.match(last) or LEANS_ON_LAST.match(following):
        return LEANING
    if SENTENCE.search(last):
        return AT_SENTENCE
    return AT_CLAUSE if CLAUSE.search(last) else BETWEEN_WORDS


def _evenly(text: str, width: int, lines: int) -> list[list[str]]:
    """A text with a word longer than a line, whose lines are cut within words: equal shares of them, not full ones and a crumb."""
    broken = balanced(text, width)
    count = -(-len(broken) // lines)
    return [broken[len(broken) * place // count : len(broken) * (place + 1) // count] for place in range(count)]


def _pieces(word: str, width: int) -> list[str]:
    """A word that is too long, cut where a new visible sign begins."""
    # A sign without width, and one after a zero-width joiner (families of emoji), belongs to the sign before it.
    starts = [place for place, sign in enumerate(word) if place == 0 or (columns(sign) and word[place - 1] != "\u200d")]
    pieces, used = [""], 0
    for start, end in pairwise([*starts, len(word)]):
        size = columns(word[start:end])
        if pieces[-1] and used + size > width:
            pieces.append("")
            used = 0
        pieces[-1] += word[start:end]
        used += size
    return pieces
