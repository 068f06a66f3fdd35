from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ser.config import SubtitlesConfig
from ser.make_demo.synthesis import speak
from ser.make_demo.voices import make_speaker
from ser.subtitle import diarisation
from ser.subtitle.diarisation import cluster, with_speakers
from ser.subtitle.film import open_film
from ser.transcripts import Segment
from sounds import write_wav

SECOND = 16_000


@pytest.mark.parametrize("installed", [False, True])
def test_two_voices_are_told_apart_and_named_as_they_come(tmp_path, monkeypatch, installed):
    if installed and find_spec("resemblyzer") is None:
        pytest.skip("needs requirements-speakers.txt")
    if not installed:
        monkeypatch.setattr(diarisation, "find_spec", lambda name: None)
    segments, parts, at = [], [], 0
    for number in range(10):
        clip = speak(make_speaker(("S00", "S01")[number % 2], 0), "neutral", number, 0, f"clip {number}")
        segments.append(Segment(at / SECOND, (at + len(clip)) / SECOND, f"line {number}", speaker="민수" if number == 9 else None))
        parts += [clip, np.zeros(SECOND // 2, np.int16)]
        at += len(clip) + SECOND // 2
    film = open_film(write_wav(tmp_path / "film.wav", np.concatenate(parts).astype(np.float32) / 32768), tmp_path / "cache")
    beyond = Segment(film.seconds + 1, film.seconds + 2, "beyond")
    named = with_speakers([*segments, beyond], film, 2, SubtitlesConfig(names="ko"))
    assert [part.text for part in named] == [part.text for part in [*segments, beyond]]
    assert named[0].speaker == "화자 1" and named[9].speaker == "민수" and named[10].speaker is None
    assert adjusted_rand_score([number % 2 for number in range(9)], [part.speaker for part in named[:9]]) == 1.0


def test_short_speech_goes_to_the_nearest_voice_and_the_number_can_be_found():
    random = np.random.default_rng(0)
    centers = np.repeat([[0.0] * 40, [8.0] * 40, [-8.0] * 40], 20, axis=0)
    voices = centers + random.normal(0, 1, centers.shape)
    seconds = np.where(np.arange(60) % 5 == 0, 0.4, 2.0)
    assert adjusted_rand_score(np.arange(60) // 20, cluster(voices, seconds, "auto", 25.0)) == 1.0
    assert cluster(voices[:1], seconds[1:2], "auto", 25.0).tolist() == [0]
