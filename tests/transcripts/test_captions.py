"""Subtitles as meetings, film sites and editors write them."""

import json
import math

import pytest

from ser.runtime.errors import UserError
from ser.transcripts import Segment, Transcript, read_transcript

ID = "d6b1a9d8-d9d6-4c58-bd44-fde4fd6d6a94/{}-0"


def read(tmp_path, text: str, kind: str = "vtt", encoding: str = "utf-8") -> Transcript:
    path = tmp_path / f"film.{kind}"
    path.write_bytes(text.encode(encoding))
    return read_transcript(path)


def texts(transcript: Transcript) -> list[str]:
    return [segment.text for segment in transcript.segments]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_cue_identifiers_are_no_text(tmp_path, ends):
    cues = [f"{ID.format(number)}\n00:00:0{number}.000 --> 00:00:0{number}.900\n<v Kim>말 {number}</v>" for number in range(1, 4)]
    heard = read(tmp_path, ends.join("\n\n".join(["WEBVTT", *cues]).split("\n")))
    assert texts(heard) == ["말 1", "말 2", "말 3"] and heard.segments[0].speaker == "Kim"
    assert texts(read(tmp_path, "WEBVTT\n\nintro\n00:01.000 --> 00:02.000\na\n\nNOTE\n00:03.000 --> 00:04.000\nb\n")) == ["a", "b"]


def test_a_file_broken_off_ends_in_no_identifier_and_no_half_time(tmp_path):
    whole = f"WEBVTT\n\n{ID.format(1)}\n00:00:01.000 --> 00:00:02.000\na\n\n{ID.format(2)}\n00:00:03.000 --> 00:00:04.000"
    for kept in (0, 1, 9, 12, 13, 14, 20):
        assert texts(read(tmp_path, whole[: len(whole) - kept])) == ["a"], kept
    assert texts(read(tmp_path, "1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n", "srt")) == ["a"]
    assert texts(read(tmp_path, "1\n00:00:01,000 --> 00:00:02,000\nat\n5:30", "srt")) == ["at 5:30"]


def test_text_that_begins_like_a_comment_is_text_and_comment_blocks_are_not(tmp_path):
    heard = read(
        tmp_path,
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:fred\n\n"
        "00:01.000 --> 00:02.000\nNOTE to self\n\nNOTE a remark\nof two lines\n\n"
        "00:03.000 --> 00:04.000\nI said\nSTYLE matters\nREGION too\n\nNOTE\n\nSTYLE\n::cue(b) {}\n\n00:05.000 --> 00:06.000\nend\n",
    )
    assert texts(heard) == ["NOTE to self", "I said STYLE matters REGION too", "end"]


def test_numbers_that_are_said_stay_and_numbers_of_cues_go(tmp_path):
    assert texts(read(tmp_path, "1\n00:00:01,000 --> 00:00:02,000\n42\n\n2\n00:00:03,000 --> 00:00:04,000\nx\n7\n", "srt")) == ["42", "x 7"]
    assert texts(read(tmp_path, "00:00:01,000 --> 00:00:02,000\n42\n\n00:00:03,000 --> 00:00:04,000\nx", "srt")) == ["42", "x"]
    assert texts(read(tmp_path, "1\n00:00:01,000 --> 00:00:02,000\na\n2\n00:00:03,000 --> 00:00:04,000\nb", "srt")) == ["a", "b"]
    doubled = "1\n\n00:00:01,000 --> 00:00:02,000\n\na\n\n\n\n2\n\n00:00:03,000 --> 00:00:04,000\n\nb\n\n"
    assert texts(read(tmp_path, doubled, "srt")) == ["a", "b"]


def rolling(tag: str) -> list[tuple[str, str, str]]:
    return [
        ("00:00:00.160", "00:00:02.389", f" \n안녕{tag} 여러분"),
        ("00:00:02.389", "00:00:02.399", "안녕 여러분\n "),
        ("00:00:02.399", "00:00:04.500", f"안녕 여러분\n오늘은{tag} 날씨가"),
        ("00:00:04.500", "00:00:04.510", "오늘은 날씨가\n "),
        ("00:00:04.510", "00:00:06.000", f"오늘은 날씨가\n좋네요{tag}"),
    ]


@pytest.mark.parametrize("kind", ["vtt", "srt"])
def test_rolling_captions_are_said_once(tmp_path, kind):
    """YouTube's own, with the times of words, and the same made into SRT."""
    tag = "<00:00:00.480><c>" if kind == "vtt" else ""
    cues = [f"{start} --> {end}\n{body}\n" for start, end, body in rolling(tag)]
    text = "\n".join(["WEBVTT\nKind: captions\n", *cues] if kind == "vtt" else [f"{n}\n{cue}" for n, cue in enumerate(cues, start=1)])
    heard = read(tmp_path, text, kind)
    assert [(part.start, part.end, part.text) for part in heard.segments] == [
        (0.16, 2.399, "안녕 여러분"),
        (2.399, 4.51, "오늘은 날씨가"),
        (4.51, 6.0, "좋네요"),
    ]


def test_captions_that_grow_word_by_word_are_one_sentence_and_a_refrain_stays_twice(tmp_path):
    grown = ["", "안녕", "안녕 여러분", "안녕 여러분 모두", "다음 문장", "다음 문장 끝"]
    cues = [f"00:0{n}.000 --> 00:0{n + 1}.000\n{text}\n" for n, text in enumerate(grown)]
    heard = read(tmp_path, "\n".join(["WEBVTT\n", *cues]))
    assert [(part.start, part.end, part.text) for part in heard.segments] == [(1.0, 4.0, "안녕 여러분 모두"), (4.0, 6.0, "다음 문장 끝")]
    said = ["네", "네", "좋아", "라라라\n노래", "라라라\n노래", "끝"]
    cues = [f"00:0{n}.000 --> 00:0{n + 1}.000\n{text}\n" for n, text in enumerate(said)]
    assert texts(read(tmp_path, "\n".join(["WEBVTT\n", *cues]))) == [text.replace("\n", " ") for text in said]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_makes_utf_16_certain(tmp_path, encoding):
    text = "1\n00:00:01,000 --> 00:00:02,000\n안녕\u200b하세요\n"
    if encoding == "utf-16-le":
        with pytest.raises(UserError, match="without its byte-order mark"):
            read(tmp_path, text.replace("안녕\u200b하세요", "hi"), "srt", encoding)
    else:
        assert texts(read(tmp_path, text, "srt", encoding)) == ["안녕하세요"]
    assert texts(read(tmp_path, "\ufeff\ufeff" + text, "srt")) == ["안녕하세요"]


def test_times_over_a_hundred_hours_are_read_and_below_zero_refused(tmp_path):
    assert read(tmp_path, "1\n100:00:01,000 --> 100:00:02,000\nx\n", "srt").segments == (Segment(360_001.0, 360_002.0, "x"),)
    assert read(tmp_path, "WEBVTT\n\n1000:00:01.000 --> 1000:00:02.5\nx\n").segments == (Segment(3_600_001.0, 3_600_002.5, "x"),)
    for kind in ("srt", "vtt"):
        with pytest.raises(UserError, match="minus stands from -1 to 4 s; times must not be negative"):
            read(tmp_path, "1\n-00:00:01,000 --> 00:00:04,000\nminus\n", kind)
    with pytest.raises(UserError, match=r"film\.srt, line 2: 00:00:01,000 --> 00:00:xx is no line of times"):
        read(tmp_path, "1\n00:00:01,000 --> 00:00:xx\nbroken\n\n2\n00:00:03,000 --> 00:00:04,000\nb", "srt")


def test_segments_of_a_json_without_times_are_told_or_take_those_of_their_words(tmp_path):
    words = [{"word": "b", "start": 4.0, "end": 4.5}, {"word": "1969"}]
    rows = [
        {"text": "a"},
        {"start": 2.5, "end": 3.0, "text": "fine"},
        {"start": None, "text": "b 1969", "words": words},
        {"start": 5.0, "text": "c"},
    ]
    heard = read(tmp_path, json.dumps({"segments": [*rows, {"start": 6, "end": 7, "text": None}]}), "json")
    assert [(part.start, part.end, part.text) for part in heard.segments] == [(2.5, 3.0, "fine"), (4.0, 4.5, "b 1969")]
    assert [(part.text, part.reason, math.isnan(part.start)) for part in heard.dropped] == [
        ("a", "no times in the transcript", True),
        ("c", "no times in the transcript", True),
    ]
    with pytest.raises(UserError, match="none of its 1 segments has a start and an end"):
        read(tmp_path, json.dumps([{"text": "a"}]), "json")
