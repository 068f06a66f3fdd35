"""The presets' rules, applied to the written files by a checker of these tests' own, against what the quality report says."""

import unicodedata
from itertools import pairwise

import numpy as np
import pandas as pd
import pysubs2
import pytest

from ser.config import SubtitlesConfig
from ser.subtitle.__main__ import write_subtitles
from ser.subtitle.breaks import into_lines, into_subtitles
from ser.subtitle.cues import lay_out
from ser.subtitle.emotion_segments import LABELS, EmotionSegment
from ser.subtitle.text import JOINER
from ser.subtitle.theme import load_theme
from ser.transcripts import Word

THEME = load_theme("default")
FPS = 25.0
# columns Latin, columns Korean, letters a second Latin, Korean, SDH Korean, shortest, longest, frames between
WANTED = {
    "plain": (42, 32, 20, 12, 12, 0.83, 7, 0),
    "netflix_ko": (42, 32, 20, 12, 14, 0.83, 7, 2),
    "netflix_en": (42, 32, 20, 12, 12, 0.83, 7, 2),
    "youtube": (42, 32, 21, 12, 12, 1.0, 7, 0),
}
SAID = {
    "ko": "그래서 우리는 어제 저녁에 아버지와 함께 시장에, 갔다가 비가 와서 집으로 돌아왔어요. 정말 너무 힘들었지만, 그래도 재미있었어요.",
    "en": "So we went to the market with my father, but it began to rain and we all ran home. It was fun though, I must say.",
}
KOREAN = SAID["ko"].split()


def spoken(start, end, words, emotion="happy", speaker=None):
    edges = np.linspace(start, end, len(words) + 1).round(3).tolist()
    times = tuple(Word(first, last, word) for first, last, word in zip(edges[:-1], edges[1:], words, strict=True))
    probabilities = tuple(0.94 if label == emotion else 0.01 for label in LABELS)
    return EmotionSegment(start, end, " ".join(words), times, speaker, probabilities, emotion, 0.94, emotion)


def scene(seed, language):
    """Two people who talk for a while: from calm to far too fast, from single words to long speeches, with and without pauses."""
    random, words = np.random.default_rng(seed), SAID[language].split()
    segments, at = [], 1.0
    for number in range(40):
        count = int(random.integers(1, 40))
        text = [words[(number * 7 + place) % len(words)] for place in range(count)]
        length = sum(map(len, text)) / random.uniform(4, 16 if language == "ko" else 26)
        segments.append(spoken(round(at, 3), round(at + length, 3), text, LABELS[int(random.integers(0, 3))], f"S{number % 2}"))
        at += length + random.choice([0.02, 0.3, 0.45, 1.5])
    return segments


def columns_of(line):
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line)


def broken_in(path, preset, sdh):
    """(number, rule) of what the file at `path` breaks, by what pysubs2 reads in it."""
    latin, korean_columns, speed, korean_speed, sdh_speed, shortest, longest, frames = WANTED[preset]
    cues = [event for event in pysubs2.load(str(path), keep_html_tags=False) if event.style != "legend"]
    found = set()
    for number, cue in enumerate(cues, 1):
        lines = [line.replace(JOINER, "") for line in cue.plaintext.split("\n")]
        signs = "".join(lines)
        hangul = sum("가" <= sign <= "힣" for sign in signs)
        korean = 2 * hangul > sum(map(str.isalpha, signs))
        seconds = (cue.end - cue.start) / 1000
        checks = {
            "lines on the screen": len(lines) <= 2,
            "columns in a line": max(map(columns_of, lines)) <= (korean_columns if korean else latin),
            "letters a second": len(signs) / seconds <= ((sdh_speed if sdh else korean_speed) if korean else speed) + 1e-6,
            "shortest time": seconds >= shortest,
            "longest time": seconds <= longest,
        }
        if number < len(cues):
            checks["frames to the next one"] = (cues[number].start - cue.end) / 1000 >= frames / FPS - 1e-6
        found |= {(number, rule) for rule, kept in checks.items() if not kept}
    return found, len(cues)


@pytest.mark.parametrize("preset", WANTED)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_files_break_no_rule_that_the_quality_report_does_not_name(tmp_path, preset, language):
    for sdh in (False, True):
        config = SubtitlesConfig(preset=preset, sdh=sdh, names=language, speakers=False, legend=False)
        layout, broken = write_subtitles(tmp_path / "film", scene(1, language), THEME, config, FPS)
        table = pd.read_csv(tmp_path / "film.quality.csv")
        assert len(table) == len(broken)
        told = set(zip(table["cue"], table["rule"], strict=True))
        for kind in ("srt", "plain.srt", "ass", "vtt"):
            found, count = broken_in(tmp_path / f"film.{kind}", preset, sdh)
            assert count == len(layout.cues) and found <= told, kind
            assert {case for case in told if "closed" not in case[1]} == found, "nothing is named that isn't so"
        assert {rule for _, rule in told} <= {"letters a second", "shortest time"}, (
            "speech itself was too fast or too dense for these alone"
        )


def test_speech_that_leaves_time_breaks_nothing():
    segments = [spoken(2.0 * place, 2.0 * place + 1.8, KOREAN[place % 9 : place % 9 + 3]) for place in range(30)]
    for preset in WANTED:
        cues = lay_out(segments, SubtitlesConfig(preset=preset), FPS).cues
        assert len(cues) == 30
        gap = 20 if preset in ("plain", "youtube") else 8
        assert all(after.start - before.end == gap for before, after in pairwise(cues)), "a gap under 12 frames is closed to two"


def test_two_speakers_too_quick_for_a_subtitle_each_share_one_behind_dashes():
    quick = [
        spoken(1.0, 1.4, ["가자."], speaker="민수"),
        spoken(1.5, 1.9, ["싫어!"], speaker="지영"),
        spoken(5.0, 7.0, KOREAN[:3], speaker="민수"),
    ]
    together, alone = lay_out(quick, SubtitlesConfig(preset="netflix_ko", speakers=False), FPS).cues
    assert together.lines == ("- 가자.", "- 싫어!") and together.speaker is None and alone.speaker == "민수"
    assert lay_out(quick, SubtitlesConfig(preset="netflix_en", speakers=False), FPS).cues[0].lines == ("-가자.", "-싫어!")
    assert [cue.lines for cue in lay_out(quick, SubtitlesConfig(speakers=False), FPS).cues][:2] == [("가자.",), ("싫어!",)]
    one = [quick[0], spoken(1.5, 1.9, ["빨리!"], speaker="민수")]
    assert [cue.lines for cue in lay_out(one, SubtitlesConfig(preset="netflix_ko", speakers=False), FPS).cues] == [("가자. 빨리!",)]
    other = [quick[0], spoken(1.5, 1.9, ["싫어!"], "sad", "지영")]
    assert len(lay_out(other, SubtitlesConfig(preset="netflix_ko"), FPS).cues) == 2, "each emotion keeps its colour"


@pytest.mark.parametrize(
    ("preset", "before"), [("netflix_ko", "(민수) "), ("netflix_en", "[민수] "), ("youtube", "민수: "), ("plain", "민수: ")]
)
def test_a_speaker_is_named_as_the_preset_wants_it(preset, before):
    config = SubtitlesConfig(preset=preset, sdh=True, names="ko")
    cues = lay_out([spoken(0.0, 3.0, ["네."], "angry", "민수")], config, FPS, THEME.sdh["ko"]).cues
    assert [cue.lines for cue in cues] == [(f"{before}[화난 목소리로] 네.",)]


def test_an_emotion_is_said_where_it_changes_in_either_language():
    emotions = ["neutral", "angry", "angry", "sad", "neutral", "sad"]
    segments = [spoken(3.0 * place, 3.0 * place + 2, ["네."], emotion) for place, emotion in enumerate(emotions)]

    def shown(names):
        config = SubtitlesConfig(sdh=True, names=names)
        return [" ".join(cue.lines) for cue in lay_out(segments, config, None, THEME.sdh[names]).cues]

    assert shown("ko") == ["네.", "[화난 목소리로] 네.", "네.", "[슬픈 목소리로] 네.", "네.", "[슬픈 목소리로] 네."]
    assert shown("en")[1] == "[angrily] 네."


def test_text_is_broken_where_its_sense_allows_it():
    english, korean = (
        "I told him that we would come, but he went to the house of his mother",
        "경치 좋고, 음식도 맛있고, 이번 여행은 대만족이야.",
    )
    assert into_lines(english.split(), 42) == [
        "I told him that we would come,",
        "but he went to the house of his mother",
    ]
    assert into_lines(korean.split(), 32) == [
        "경치 좋고, 음식도 맛있고,",
        "이번 여행은 대만족이야.",
    ]
    assert into_lines(["(지영)", "[기쁜", "목소리로]", "보잘것없는", "선물이지만"], 32)[1] == "보잘것없는 선물이지만", "a tag stays whole"
    assert into_lines(["또한", "경찰은", "2건", "이상의", "테러가"], 20)[1].startswith("2건 이상의")
    long = "It was late. We had walked for hours through the rain and the mud of fields. Nobody had said a word since noon, and nobody did."
    screens = into_subtitles(long, 42, 2)
    assert [" ".join(lines) for lines in screens] == [long[: long.index("Nobody") - 1], long[long.index("Nobody") :]]
    assert (
        " ".join(line for lines in into_subtitles(long, 20, 1, 12) for line in lines) == long and len(into_subtitles(long, 20, 1, 12)) >= 12
    )
