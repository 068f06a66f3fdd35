"""Words at their time: made-up words on made-up speech, and what a window tells."""

from itertools import pairwise

import numpy as np
import pytest

from ser.transcripts.inventions import drop_invented, without_loops
from ser.transcripts.listening import LONGEST, Listening, windows_of_speech
from ser.transcripts.placing import Heard, assign, place_words
from ser.transcripts.segments import Segment, Word

SECOND = 16_000


def heard(*words):
    """Words (text, start, end) as speech to text tells them; a sentence ends with a full stop."""
    told, group = [], 0
    for text, start, end in words:
        told.append(Heard(Word(start, end, text), group))
        group += text.endswith(".")
    return told


def test_a_sentence_ends_with_its_speech_though_its_last_word_was_stretched_over_the_pause():
    words = heard(("나는", 0.9, 1.4), ("갔다.", 1.4, 4.6), ("그는", 4.6, 5.4), ("왔다.", 5.4, 5.9))
    first, second = place_words(words, [(1.0, 2.0), (5.0, 6.0)])
    assert (first.start, first.end, first.text) == (1.0, 2.0, "나는 갔다.")
    assert (second.start, second.end, second.text) == (5.0, 6.0, "그는 왔다.")
    assert all(part.start <= word.start < word.end <= part.end for part in (first, second) for word in part.words)


def test_a_word_that_was_stretched_back_over_the_pause_belongs_to_its_end_without_any_mark():
    words = heard(("술을", 3.3, 3.9), ("끊으시겠습니까", 3.9, 4.8), ("난", 4.8, 6.5), ("이렇게", 6.5, 7.4), ("널", 7.4, 7.7))
    assert [part.text for part in place_words(words, [(3.0, 5.1), (6.3, 7.8)])] == ["술을 끊으시겠습니까", "난 이렇게 널"]


def test_words_whose_times_lie_wrong_go_where_their_number_of_letters_fits():
    # The times of the second sentence begin too early, in the first one's speech.
    words = heard(("abcde", 0.0, 0.5), ("fghij.", 0.5, 0.9), ("klmno", 0.9, 1.6), ("pqrst", 2.5, 3.0), ("uvwxy.", 3.0, 3.5))
    assert assign(words, [(0.0, 1.0), (2.0, 3.5)]) == [0, 0, 1, 1, 1]


def test_a_short_pause_within_a_sentence_parts_no_segment_and_a_long_one_does():
    words = heard(("아버지,", 0.0, 0.8), ("어디", 1.1, 1.5), ("가세요.", 1.5, 2.0), ("네.", 2.3, 2.6))
    spans = [(0.0, 0.8), (1.1, 2.0), (2.3, 2.6)]
    assert [segment.text for segment in place_words(words, spans)] == ["아버지, 어디 가세요.", "네."]
    later = [(start + 0.4, end + 0.4) if start else (start, end) for start, end in spans]
    assert [segment.text for segment in place_words(words, later)] == ["아버지,", "어디 가세요.", "네."]


def test_two_sentences_in_one_breath_are_parted_where_the_second_begins():
    words = heard(("가자.", 0.1, 0.9), ("빨리", 0.9, 1.4), ("가자.", 1.4, 1.9))
    first, second = place_words(words, [(0.0, 2.0)])
    assert (first.start, first.end, second.start, second.end) == (0.0, 0.9, 0.9, 2.0)


def test_speech_without_words_and_words_without_speech_end_nothing():
    assert place_words([], [(0.0, 1.0)]) == [] and place_words(heard(("a", 0, 1)), []) == []
    (only,) = place_words(heard(("hello.", 3.1, 3.6)), [(0.0, 0.4), (3.0, 3.7)])
    assert (only.start, only.end) == (3.0, 3.7)


def test_windows_hold_all_speech_once_are_parted_at_long_pauses_and_know_the_recordings_time():
    random = np.random.default_rng(0)
    spans, at = [], 0
    for _ in range(60):
        start = at + round(random.uniform(0.3, 3) * SECOND)
        at = start + round(random.uniform(0.5, 6) * SECOND)
        spans.append((start, at))
    samples = np.arange(at + SECOND) % 30_000
    windows = windows_of_speech(spans, len(samples))
    assert [span for window in windows for span in window.spans] == spans
    pauses = [after.spans[0][0] - before.spans[-1][1] for before, after in pairwise(windows)]
    assert np.median(pauses) > np.median([after[0] - before[1] for before, after in pairwise(spans)])
    for window in windows:
        sound = window.read(samples)
        assert len(sound) <= LONGEST * SECOND
        for place in range(0, len(sound), 7919):
            assert samples[round(window.in_recording(place / SECOND) * SECOND)] == sound[place]
    assert Listening(((0, 10),), ((0, 10),)).in_recording(99.0) == 10 / SECOND


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("no no no no I mean it", "no no no no I mean it"),
        ("thank you very much " * 5 + "bye", "thank you very much bye"),
        ("네 " * 12, "네"),
        ("가자 가자 집에 가자", "가자 가자 집에 가자"),
    ],
)
def test_what_is_invented_again_and_again_on_the_same_speech_stays_once(text, stays):
    words = text.split()
    assert " ".join(words[place] for place in without_loops(words, [0] * len(words))) == stays


def test_a_sentence_that_is_truly_repeated_stays():
    words = ["Kids", "are", "talking", "by", "the", "door."] * 9
    spans_of = [place // 6 for place in range(len(words))]
    assert without_loops(words, spans_of) == list(range(len(words)))
    assert len(without_loops(words, [place // 18 for place in range(len(words))])) == 6, "three times on each stretch of speech can't be"


def test_a_stock_phrase_is_believed_only_where_the_model_is_sure():
    samples = np.random.default_rng(0).normal(0, 3000, 2 * SECOND).astype(np.int16)
    said = Segment(0.0, 2.0, "시청해 주셔서 감사합니다.")
    assert drop_invented([said], samples, [(0, 2 * SECOND)], [-0.2])[0] == [0]
    kept, dropped = drop_invented([said, Segment(0.0, 2.0, "반갑습니다.")], samples, [(0, 2 * SECOND)], [-1.1, -1.1])
    assert kept == [1] and "stock phrase" in dropped[0].reason
