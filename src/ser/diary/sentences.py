"""Splitting a text into sentences: at . ? ! and line ends, and at Korean endings where there is no mark at all.

Rules and no library: on the lists of tests/sentences.py they find more of the boundaries than kiwipiepy's splitter (docs/text.md).
"""

from __future__ import annotations

import re
import unicodedata

CLOSING = "\"'”’」』)]"
PAIRS = {"“": "”", "‘": "’", "「": "」", "『": "』", "(": ")", "[": "]", '"': '"'}
LONGEST_QUOTE = 200
"""Letters within which a quotation is looked for; a mark that is opened and never closed must not swallow the rest."""

_KEPT = re.compile(
    r"https?://\S*[^\s.?!,]|www\.\S*[^\s.?!,]|[\w.+-]{1,64}@[\w.-]+\w|\b(?:No|Dr|Mr|Mrs|Ms|Prof|vs|etc|e\.g|i\.e)\.", re.IGNORECASE
)
"""Stops in these end nothing."""
_STOP = re.compile(r"(?:[.?!…。？！]|[~♡♥;]+(?=\s))[.?!…。？！~♡♥;]*[ㅋㅎㅠㅜ^]*")
_SMILE = re.compile(r"[ㅋㅎㅠㅜ^~;♡♥.!?…]+")
_NUMBER_BEFORE = re.compile(r"(?:^|\s|\.)\d{1,4}$")
_WAVERING = ("음", "어", "아", "글쎄", "흠", "그", "저", "뭐", "막", "그냥", "근데", "그런데", "그래서", "그리고")
"""Words behind which dots are a pause."""
_ADJECTIVES = ("없다", "싶다", "같다", "좋다", "싫다", "많다", "아니다", "힘들다", "하다", "프다", "쁘다", "롭다", "럽다")
_NO_VERB = {"바다", "베란다", "판다", "필요", "중요", "주요", "수요", "동요", "개요", "강요", "고요", "가요", "소요", "여요", "그렇다"}
_CONTINUED = re.compile(r"(?:고|라고|는|치더라도|치고|말|하더|싶|해도|뿐|만)(?:\s|$)")
_FINAL_N, _FINAL_SS = 4, 20  # positions of ㄴ and ㅆ among the 28 finals of a Hangul syllable


def split_sentences(text: str) -> list[str]:
    """The sentences of a text in order, without blanks around them; a text without letters or digits has none."""
    text = unicodedata.normalize("NFC", text)
    sentences = [part for line in text.splitlines() for marked in _at_marks(line) for part in _at_endings(marked)]
    return [sentence for sentence in sentences if any(letter.isalnum() for letter in sentence)]


def _at_marks(line: str) -> list[str]:
    kept = _ends_by_place(line, [found.span() for found in _KEPT.finditer(line)])
    quotes = _ends_by_place(line, _quotes(line))
    parts, start = [], 0
    for found in _STOP.finditer(line):
        place, end = found.span()
        while end < len(line) and line[end] in CLOSING:
            end += 1
        in_quotes = quotes[place] > place + 1 and (end < quotes[place] or _goes_on(line, end))
        if place < start or kept[place] or in_quotes or (end < len(line) and not line[end].isspace()):
            continue
        if not _is_pause(line[max(start, place - 20) : place], found.group(), end >= len(line)):
            parts.append(line[start:end].strip())
            start = end
    return [part for part in [*parts, line[start:].strip()] if part]


def _ends_by_place(line: str, spans: list[tuple[int, int]]) -> list[int]:
    """For each place of the line the end of the span it lies in, 0 outside."""
    ends = [0] * len(line)
    for start, end in spans:
        ends[start:end] = [end] * (end - start)
    return ends


def _quotes(line: str) -> list[tuple[int, int]]:
    """Where quotations and brackets stand, as (start, end)."""
    spans, place = [], 0
    while place < len(line):
        close = line.find(PAIRS[line[place]], place + 1, place + LONGEST_QUOTE) if line[place] in PAIRS else -1
        if close > 0:
            spans.append((place, close + 1))
            place = close
        place += 1
    return spans


def _goes_on(line: str, end: int) -> bool:
    """Whether the sentence goes on behind a quotation: "..."라고 말했다, "..." 엄마가 웃었다."""
    return line[end - 1] not in ")]" and end < len(line)


def _is_pause(before: str, mark: str, last: bool) -> bool:
    """1. in a list, 2024. 3. 5., and dots in the middle of a thought."""
    if mark == "." and _NUMBER_BEFORE.search(before):
        return True
    words = before.split()
    return mark.startswith(("..", "…")) and not last and bool(words) and words[-1] in _WAVERING


def _at_endings(sentence: str) -> list[str]:
    words = sentence.split()
    if any(mark in sentence for mark in '"“‘「『'):
        return [sentence]
    parts, current = [], []
    for place, word in enumerate(words):
        current.append(word)
        following = words[place + 1] if place + 1 < len(words) else None
        if following is None or _SMILE.fullmatch(following):
            continue
        said = current[-2] if _SMILE.fullmatch(word) and len(current) > 1 else word
        if _ends(said) and not _CONTINUED.match(following + " "):
            parts.append(" ".join(current))
            current = []
    return [*parts, " ".join(current)] if current else parts


def _ends(word: str) -> bool:
    """Whether a word, smiles and marks behind it aside, has a final ending."""
    bare = word.rstrip("ㅋㅎㅠㅜ^~;♡♥.!?…,")
    if bare != word and word.endswith(","):
        return False
    if len(bare) < 2 or bare in _NO_VERB:
        return False
    if bare.endswith("다"):
        return bare.endswith(("니다", *_ADJECTIVES)) or _final(bare[-2]) in (_FINAL_N, _FINAL_SS)
    if bare.endswith(("어", "까")):
        return _final(bare[-2]) == _FINAL_SS or bare.endswith(("럴까", "일까", "할까", "을까"))
    return bare.endswith(("요", "죠"))


def _final(syllable: str) -> int:
    """The number of a Hangul syllable's final consonant, 0 without one, -1 for other letters."""
    return (ord(syllable) - 0xAC00) % 28 if "가" <= syllable <= "힣" else -1
