"""Random transcripts, read here and by pysubs2 or webvtt-py. `pytest -m slow -s`; one again: SER_SEED=17 SER_CASES=1."""

import json
import os
import random
import re
import time
from collections import Counter

import pytest

from ser.runtime.errors import UserError
from ser.transcripts import read_transcript

FIRST, CASES = int(os.environ.get("SER_SEED", "0")), int(os.environ.get("SER_CASES", "500"))
WORDS = [
    "안녕하세요",
    "여러분",
    "NOTE",
    "STYLE",
    "REGION",
    "hello",
    "42",
    "x-y",
    "don't",
    "1969년",
    "네,",
    "WEBVTT",
    "a&b",
    "{good}",
    "→",
    "5:30",
]
SECONDS_ALLOWED = 5.0


def stamp(milliseconds: int, web: bool, rng: random.Random) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    mark = "." if web else ","
    if web and hours == 0 and rng.random() < 0.3:
        return f"{minutes:02d}:{seconds:02d}{mark}{rest:03d}"
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{mark}{rest:03d}"


def draw(rng: random.Random) -> tuple[str, list[tuple[int, int, str]], bool]:
    """A file's text, the cues in it (milliseconds and words), and whether it is WebVTT."""
    web = rng.random() < 0.6
    now, cues = rng.choice([0, 5_000, 3_600_000 * 99]), []
    for _ in range(rng.randint(1, 12)):
        start = now + rng.randint(600, 5000)
        now = start + rng.randint(200, 6000)
        lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        cues.append((start, now, lines))
    ids = rng.choice(["none", "number", "uuid"] if web else ["number", "number", "none"])
    parts = [rng.choice(["WEBVTT", "WEBVTT - made by hand", "WEBVTT\nKind: captions\nLanguage: ko"])] if web else []
    if web and rng.random() < 0.3:
        parts.append("STYLE\n::cue { color: red }\n::cue(b) { font: x }")
    for number, (start, end, lines) in enumerate(cues, start=1):
        if web and rng.random() < 0.2:
            parts.append(rng.choice(["NOTE a remark", "NOTE\ntwo lines\nof it", "NOTE"]))
        settings = rng.choice(["", "", " align:start position:0%"]) if web else ""
        head = {"none": "", "number": f"{number}\n", "uuid": f"d6b1a9d8-d9d6-4c58/{number}-0\n"}[ids]
        body = [f"<c.loud>{line}</c>" if web and rng.random() < 0.2 else line.replace("&", "&amp;") if web else line for line in lines]
        times = f"{stamp(start, web, rng)} --> {stamp(end, web, rng)}{settings}"
        parts.append(head + times + "\n" + "\n".join(body))
    gap = rng.choice(["\n\n", "\n\n", "\n\n\n"])
    return gap.join(parts) + rng.choice(["", "\n", "\n\n"]), [(start, end, " ".join(lines)) for start, end, lines in cues], web


def as_bytes(text: str, rng: random.Random) -> bytes:
    text = text.replace("\n", rng.choice(["\n", "\r\n", "\r"]))
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp949"])
    return text.encode(encoding)


def read(path) -> list[tuple[int, int, str]]:
    return [(round(part.start * 1000), round(part.end * 1000), part.text) for part in read_transcript(path).segments]


def milliseconds(stamp: str) -> int:
    hours, minutes, seconds = stamp.split(":")
    return int(hours) * 3_600_000 + int(minutes) * 60_000 + int(seconds.replace(".", ""))


def by_library(text: str, web: bool) -> list[tuple[int, int, str]]:
    if web:
        webvtt = pytest.importorskip("webvtt")
        cues = ((milliseconds(cue.start), milliseconds(cue.end), cue.text.replace("&amp;", "&")) for cue in webvtt.from_string(text))
        return [(start, end, " ".join(words.split())) for start, end, words in cues]
    import pysubs2

    events = pysubs2.SSAFile.from_string(text, format_="srt", keep_html_tags=True)
    return [(event.start, event.end, " ".join(event.text.replace("\\N", " ").split())) for event in events]


@pytest.mark.slow
def test_500_random_transcripts_are_read_as_written_and_as_the_libraries_read_them(tmp_path):
    agreed = 0
    for seed in range(FIRST, FIRST + CASES):
        rng = random.Random(seed)  # noqa: S311
        text, cues, web = draw(rng)
        path = tmp_path / ("a.vtt" if web else "a.srt")
        path.write_bytes(as_bytes(text, rng))
        started = time.monotonic()
        assert read(path) == cues, f"seed {seed}\n{text}"
        assert time.monotonic() - started < SECONDS_ALLOWED, f"seed {seed}"
        agreed += by_library(text, web) == cues
    print(f"\n{CASES} transcripts read as written; {agreed} of them by pysubs2 or webvtt-py too")
    assert agreed >= 0.9 * CASES


def damage(data: bytes, rng: random.Random) -> bytes:
    kind = rng.choice(["flip", "cut", "double", "lose"])
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    if kind == "flip":
        data = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)
    return {"cut": data[:first], "double": data[:last] + data[first:], "lose": data[:first] + data[last:]}[kind]


@pytest.mark.slow
def test_500_damaged_transcripts_lose_no_word_that_a_library_reads(tmp_path):
    counts = Counter()
    for seed in range(FIRST, FIRST + CASES):
        rng = random.Random(seed)  # noqa: S311
        text, _, web = draw(rng)
        if rng.random() < 0.2:
            kind, text = ".json", json.dumps({"segments": [{"start": 0.5, "end": 1.5, "text": "a b"}, {"text": "c"}]})
        else:
            kind = ".vtt" if web else ".srt"
        path = tmp_path / f"a{kind}"
        path.write_bytes(damage(text.encode(), rng))
        started = time.monotonic()
        try:
            heard = read(path)
        except UserError as error:
            assert "\n" not in str(error), f"seed {seed}"
            counts["refused"] += 1
            continue
        finally:
            assert time.monotonic() - started < SECONDS_ALLOWED, f"seed {seed}"
        counts["read"] += 1
        if kind == ".srt":
            words = set(re.findall(r"\w+", " ".join(part[2] for part in by_library(path.read_text("utf-8", "replace"), web))))
            known = set(re.findall(r"\w+", " ".join(part[2] for part in heard)))
            lost = {word for word in words - known if not word.isdecimal() and "�" not in word}
            assert not lost or heard == [], f"seed {seed}: {lost}\n{path.read_text('utf-8', 'replace')}"
    print(f"\n{CASES} damaged transcripts: {dict(counts)}, no traceback")
