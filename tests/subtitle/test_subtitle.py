import html
import json
import re
import time
from itertools import pairwise

import numpy as np
import pysubs2
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broken import examples
from ser.config import SubtitlesConfig
from ser.runtime.errors import UserError
from ser.subtitle.ass import ass_colour, ass_text, shade
from ser.subtitle.breaks import balanced, wrap
from ser.subtitle.cues import lay_out
from ser.subtitle.emotion_segments import LABELS, EmotionSegment, read_segments, smoothed, with_emotions, write_segments, write_table
from ser.subtitle.presets import rules_of
from ser.subtitle.srt import srt_text, vtt_text
from ser.subtitle.text import JOINER, clean, columns, is_korean
from ser.subtitle.theme import load_theme
from ser.transcripts import Segment, Word

THEME = load_theme("default")
ONE_BY_ONE = SubtitlesConfig(min_seconds=0.01, letters_per_second=1e6, korean_letters_per_second=1e6)
WRITERS = {
    "ass": lambda cues, config: ass_text(cues, THEME, config),
    "srt": lambda cues, config: srt_text(cues, THEME),
    "plain": lambda cues, config: srt_text(cues, None),
    "vtt": lambda cues, config: vtt_text(cues, THEME),
}


def spoken(start, end, text, emotion="happy", confidence=0.9, **more):
    rest = (1 - confidence) / 6
    probabilities = tuple(confidence if label == emotion else rest for label in LABELS)
    return EmotionSegment(start, end, text, probabilities=probabilities, emotion=emotion, confidence=confidence, style=emotion, **more)


def read_back(kind, text):
    """What pysubs2 makes of a file: (start, end, text) of each subtitle, times in centiseconds, lines joined by a blank."""
    options = {"vtt": {"format_": "vtt"}, "ass": {"format_": "ass"}}.get(kind, {"format_": "srt"})
    events = [event for event in pysubs2.SSAFile.from_string(text, **options) if event.style != "legend"]
    shown = [event.plaintext.replace("\n", " ") for event in events]
    shown = [html.unescape(text) if kind == "vtt" else text for text in shown]
    return [(event.start / 10, event.end / 10, text.replace(JOINER, "")) for event, text in zip(events, shown, strict=True)]


def on_screen(text):
    """What a text becomes by the rule of `ser.subtitle.text`: braces are shown full width."""
    return clean(text).replace("{", "｛").replace("}", "｝").replace(JOINER, "")


NASTY = st.lists(
    st.one_of(
        st.sampled_from(list("{}\\<>&-:,.0123456789 abN nh/i\n\r\t;=!|[]")),
        st.sampled_from(
            ["\\N", "\\n", "\\h", "{\\an8}", "{\\p1}", "<i>", "</font>", "<v x>", "-->", "00:00:01,000 --> 00:00:02,000", "&lt;"]
        ),
        st.sampled_from(
            ["👍🏽", "👨‍👩‍👧", "é", "\u200f", "\u202b", "\u2066", "한국어", "שלום", "\ufeff", "\u2028", "\x85", "\x00", "\ud800"]
        ),
        st.characters(),
    ),
    min_size=1,
    max_size=60,
).map("".join)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(NASTY, min_size=1, max_size=5), st.booleans())
def test_any_text_survives_in_every_format_and_none_becomes_a_code(texts, karaoke):
    config = SubtitlesConfig(min_seconds=0.01, letters_per_second=1e6, korean_letters_per_second=1e6, karaoke=karaoke)
    segments = [
        spoken(place, place + 1, text, words=tuple(Word(place, place + 0.5, word) for word in clean(text).split(" ")))
        for place, text in enumerate(texts)
    ]
    layout = lay_out(segments, config)
    for kind, write in WRITERS.items():
        back = read_back(kind, write(layout.cues, config))
        assert [times[:2] for times in back] == [(cue.start, cue.end) for cue in layout.cues], kind
        for place, text in enumerate(texts):
            joined = "".join(shown for (_, _, shown), cue in zip(back, layout.cues, strict=True) if cue.segment == place)
            # Where a line was broken isn't part of the text.
            assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", on_screen(text) or "[Joy]"), kind
    for line in ass_text(layout.cues, THEME, ONE_BY_ONE).splitlines():
        if line.startswith("Dialogue: 0"):
            codes = re.findall(r"\{[^}]*\}", line)
            assert all(re.fullmatch(r"\{\\1c&H[0-9A-F]{6}&\}", code) for code in codes), "a text became a code"


TIMES = st.lists(
    st.tuples(st.floats(0, 50, allow_nan=False), st.floats(0, 12), st.text("가나다abc ", min_size=0, max_size=120)), min_size=1, max_size=12
)


@settings(max_examples=examples(100), deadline=None)
@given(TIMES)
@example([(0.0, 8.0, "a aaaaaaaaaaa" + "가" * 12)])  # English as a whole, Korean in its second half
def test_cues_rise_last_and_never_overlap_whatever_the_segments_do(rows):
    config, rules = SubtitlesConfig(), rules_of(SubtitlesConfig())
    segments = [spoken(start, start + length, text) for start, length, text in sorted(rows)]
    cues = lay_out(segments, config).cues
    assert {cue.segment for cue in cues} == set(range(len(segments)))
    for cue in cues:
        assert 0 <= cue.start < cue.end
        assert 1 <= len(cue.lines) <= rules.lines
        assert all(columns(line) <= rules.width(is_korean(" ".join(cue.lines))) + 2 for line in cue.lines)
    assert all(before.end <= after.start for before, after in pairwise(cues))


def test_a_cue_stays_long_enough_to_be_read_where_there_is_room():
    layout = lay_out([spoken(1, 1.2, "네"), spoken(5, 5.5, "안녕하세요 여러분 반갑습니다"), spoken(5.6, 7, "그래")], SubtitlesConfig())
    assert [(cue.start, cue.end) for cue in layout.cues] == [(100, 183), (500, 560), (560, 700)]
    assert (layout.short, layout.fast, layout.overlapping) == (1, 1, 0)


def test_speech_that_overlaps_is_shown_one_after_the_other():
    layout = lay_out([spoken(0, 4, "first"), spoken(2, 6, "second"), spoken(10, 12, "aaaa"), spoken(10, 12, "bbbb")], ONE_BY_ONE)
    assert [(cue.start, cue.end) for cue in layout.cues] == [(0, 200), (200, 600), (1000, 1100), (1100, 1200)]
    assert layout.overlapping == 3


def test_long_text_becomes_several_cues_that_share_its_time_by_length_or_by_its_words():
    text = " ".join(f"word{place:02d}" for place in range(24))  # 167 letters, four lines
    first, second = lay_out([spoken(0, 10, text)], ONE_BY_ONE).cues
    assert (first.start, second.end) == (0, 1000) and first.end == second.start == pytest.approx(500, abs=20)
    assert all(len(line) <= 42 for cue in (first, second) for line in cue.lines) and len(first.lines) == len(second.lines) == 2
    words = tuple(Word(place / 4, place / 4 + 0.2, word) for place, word in enumerate(text.split()))
    first, second = lay_out([spoken(0, 10, text, words=words)], ONE_BY_ONE).cues
    assert second.start == round(100 * second.words[0].start) and second.words[0].text == second.lines[0].split()[0]


def test_lines_are_measured_in_columns_and_broken_between_words():
    assert wrap("가나다라 마바사아 자차카타", 18) == ["가나다라 마바사아", "자차카타"]
    assert balanced("one two three four five six", 24) == ["one two three", "four five six"]
    assert wrap("👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧", 7) == ["👨‍👩‍👧", "👨‍👩‍👧", "👨‍👩‍👧"] or columns("👨‍👩‍👧") <= 7
    assert "".join(wrap("a" * 100, 42)) == "a" * 100 and max(map(len, wrap("a" * 100, 42))) == 42
    assert wrap("e\u0301" * 10, 5) == ["e\u0301" * 5] * 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59.999, "0:01:00.00"), (59.994, "0:00:59.99"), (0.005, "0:00:00.00"), (3599.996, "1:00:00.00"), (7325.5, "2:02:05.50")],
)
def test_times_round_to_centiseconds_without_sixty_seconds(seconds, shown):
    (cue,) = lay_out([spoken(seconds, seconds + 1, "x")], ONE_BY_ONE).cues
    assert f"\nDialogue: 0,{shown}," in ass_text([cue], THEME, ONE_BY_ONE)
    assert pysubs2.SSAFile.from_string(srt_text([cue], None))[0].start == cue.start * 10


def test_colours_are_blue_green_red_in_ass_and_weaker_the_less_sure():
    assert ass_colour("#12ABef") == "EFAB12"
    happy, neutral = THEME.looks["happy"], THEME.looks["neutral"]
    style = pysubs2.SSAFile.from_string(ass_text([], THEME, ONE_BY_ONE)).styles["happy"]
    assert (style.primarycolor.r, style.primarycolor.g, style.primarycolor.b) == (0xF7, 0xE2, 0x4A)
    assert style.bold and style.fontsize == 64 and style.fontname == "Noto Sans CJK KR"
    assert shade(happy, neutral, 1.0, 0.4) == happy.colour
    blues = [int(shade(happy, neutral, confidence, 0.4)[5:], 16) for confidence in (0.4, 0.6, 0.8, 1.0)]
    assert blues == sorted(blues, reverse=True) and blues[0] < 255


def test_each_format_carries_the_emotion():
    layout = lay_out([spoken(0, 1, "so <b> & {x}", "angry", speaker="민수, A")], SubtitlesConfig(min_confidence=0.3, legend=False))
    assert ",angry,민수 A,0,0,0,,{\\1c&H" in ass_text(layout.cues, THEME, SubtitlesConfig())
    assert '<font color="#ff6b45">민수, A: so <\u2060b> & ｛x｝</font>' in srt_text(layout.cues, THEME)
    assert "<font" not in srt_text(layout.cues, None)
    assert "<v 민수, A><c.angry>민수, A: so &lt;b&gt; &amp; ｛x｝</c></v>" in vtt_text(layout.cues, THEME)
    assert "::cue(.angry) { color: #ff6b45; font-weight: bold; }" in vtt_text(layout.cues, THEME)


def test_karaoke_fills_words_for_as_long_as_they_are_spoken():
    words = (Word(1.0, 1.25, "안녕"), Word(1.5, 2.0, "친구야"))
    config = SubtitlesConfig(karaoke=True, intensity=False, legend=False)
    (cue,) = lay_out([spoken(1, 2, "안녕 친구야", words=words, speaker="A")], config).cues
    assert ass_text([cue], THEME, config).endswith("{\\kf0}A: {\\kf25}안녕 {\\kf75}친구야\n")
    (other,) = lay_out([spoken(1, 2, "안녕 친구", words=words)], config).cues
    assert "\\kf" not in ass_text([other], THEME, config), "words that aren't the text's own aren't used"


def test_the_unsure_and_the_silent_are_neutral_and_the_threshold_can_be_changed_later(tmp_path):
    probabilities = np.array([[0.1, 0.6, 0.1, 0.05, 0.05, 0.05, 0.05], [0.2, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1], [np.nan] * 7])
    words = (Word(0.0, 0.5, "hi"),)
    parts = [Segment(0, 1, "hi", words, "A"), Segment(1, 2, "=cmd"), Segment(2, 3, "…")]
    segments = with_emotions(parts, probabilities, SubtitlesConfig(min_confidence=0.4))
    assert [(part.emotion, part.style, part.confidence) for part in segments] == [
        ("happy", "happy", 0.6),
        ("angry", "neutral", 0.3),
        ("neutral", "neutral", 0.0),
    ]
    write_segments(tmp_path / "film.json", segments, "film.mp4", "demo", 25.0)
    again, head = read_segments(tmp_path / "film.json", SubtitlesConfig(min_confidence=0.4))
    assert again == segments and head == {"source": "film.mp4", "model": "demo", "frame_rate": 25.0}
    assert read_segments(tmp_path / "film.json", SubtitlesConfig(min_confidence=0.25))[0][1].style == "angry"
    write_table(tmp_path / "film.csv", segments)
    assert "'=cmd" in (tmp_path / "film.csv").read_text()


@pytest.mark.parametrize("damage", ["{", '{"version": 1}', '{"segments": []}', "[]"])
def test_a_json_that_is_none_of_ours_is_refused(tmp_path, damage):
    (tmp_path / "x.json").write_text(damage)
    with pytest.raises(UserError, match=r"x\.json"):
        read_segments(tmp_path / "x.json", SubtitlesConfig())


def test_smoothing_is_the_gaussian_mean_over_time_within_a_speaker():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(7), 30)
    probabilities[4] = np.nan
    parts = [Segment(float(place), place + 1.0, "", (), "AB"[place % 2]) for place in range(30)]
    result = smoothed(parts, probabilities, 2.0)
    weights = np.array([np.exp(-0.5 * ((place - 11) / 2) ** 2) * (place % 2 == 1 and abs(place - 11) <= 6) for place in range(30)])
    np.testing.assert_allclose(result[11], weights @ np.nan_to_num(probabilities) / weights.sum())
    assert np.isnan(result[4]).all() and np.allclose(result[[0, 2]].sum(axis=1), 1)
    assert smoothed(parts, probabilities, 0) is probabilities


def test_a_theme_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "size: 50\nfonts: [Batang]\nemotions:\n  sad: {colour: '#0000FF', font: Gungsuh, italic: true}\nsdh:\n  ko: {sad: 흐느끼며}\n",
        encoding="utf-8",
    )
    theme = load_theme(str(path))
    assert (theme.looks["sad"].colour, theme.looks["sad"].font, theme.looks["sad"].italic) == ("#0000FF", "Gungsuh", True)
    assert (theme.looks["happy"].colour, theme.looks["happy"].font, theme.looks["happy"].size) == ("#F7E24A", "Batang", 50)
    assert theme.looks["angry"].size == 70 and not theme.looks["fear"].italic
    assert (theme.sdh["ko"]["sad"], theme.sdh["ko"]["angry"], theme.sdh["en"]["sad"]) == ("흐느끼며", "화난 목소리로", "sadly")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"colour": 1}, "no such key"),
        ({"emotions": {"joyful": {}}}, "emotions.joyful"),
        ({"emotions": {"sad": {"color": "#000000"}}}, "emotions.sad.color"),
        ({"emotions": {"sad": {"colour": "blue"}}}, "#RRGGBB"),
        ({"emotions": {"sad": {"bold": "yes"}}}, "true and false"),
        ({"size": -1}, "from 0 to 1000"),
        ({"sdh": {"en": {"joyful": "x"}}}, "sdh.en.joyful"),
        ({"sdh": {"en": "x"}}, "a text per emotion"),
        ({"fonts": ["a,b"]}, "without commas"),
        ("text", "holds keys"),
    ],
)
def test_a_wrong_theme_is_told_by_its_key(tmp_path, content, told):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=told):
        load_theme(str(tmp_path / "mine.yaml"))
    with pytest.raises(UserError, match="default and a YAML file"):
        load_theme("missing.yaml")


def test_twenty_thousand_cues_are_written_in_seconds(tmp_path):
    segments = [spoken(place * 2.0, place * 2 + 1.5, f"문장 {place}, and some more words for it") for place in range(20_000)]
    started = time.process_time()
    layout = lay_out(segments, SubtitlesConfig())
    sizes = {kind: len(write(layout.cues, SubtitlesConfig())) for kind, write in WRITERS.items()}
    write_segments(tmp_path / "film.json", segments, "film.mp4", "demo")
    assert time.process_time() - started < 15
    assert len(layout.cues) == 20_000 and min(sizes.values()) > 1_000_000
    assert len(json.loads((tmp_path / "film.json").read_text())["segments"]) == 20_000
