"""Clips in a notebook: what is in the HTML plays and shows."""

import base64
import io
import re

import soundfile
from PIL import Image

from ser.report.players import players
from sounds import tone


def test_the_card_holds_the_sound_and_its_picture():
    html = players([("TRAIN_1: sad", tone(1.2))])
    sound = base64.b64decode(re.search(r'src="data:audio/mpeg;base64,([^"]+)"', html)[1])
    assert abs(soundfile.info(io.BytesIO(sound)).duration - 1.2) < 0.15
    picture = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', html)[1])
    assert Image.open(io.BytesIO(picture)).size[0] > 100
    assert "TRAIN_1: sad" in html


def test_captions_are_text_and_lost_sounds_are_said():
    html = players([("<script>alert(1)</script>", tone(0.3)), ("gone <b>", None)])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "gone &lt;b&gt;: no sound" in html
    assert html.count("<audio") == 1
