"""Names in Hangul are seen in pictures as letters: by an installed font, or in Latin ones."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from ser.report import letters, pictures
from ser.report.letters import font_with, latin

NAMES = ("기쁨", "불평/불만", "sad")


def drawn(monkeypatch, png):
    """All texts of the confusion matrix of clips with NAMES; a box in place of a letter is an error."""
    seen = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *words, **more: (seen.append(self), save(self, *words, **more)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.plot_confusion(np.array([0, 1, 2, 1]), np.eye(3)[[0, 1, 2, 2]], NAMES, png)
    return {text.get_text() for axes in seen[0].axes for axis in (axes.xaxis, axes.yaxis) for text in axis.get_ticklabels()}


def test_without_a_font_that_has_them_names_are_in_latin_letters_and_that_is_told_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    font_with.cache_clear()
    letters._tell.cache_clear()
    for number in range(2):
        shown = drawn(monkeypatch, tmp_path / f"{number}.png")
    font_with.cache_clear()
    assert {"Joy", "bulpyeong/bulman", "sad", "Joy (1)"} <= shown
    assert sum("no installed font" in part for part in "".join(capsys.readouterr()).splitlines()) == 1


def test_with_a_font_that_has_them_names_stay_as_they_are(monkeypatch, tmp_path):
    font_with.cache_clear()
    if font_with(frozenset("기쁨불평만")) is None:
        pytest.skip("no font with Hangul is installed")
    assert set(NAMES) <= drawn(monkeypatch, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("text", "shown"), [("알 수 없음 (3)", "Unknown (3)"), ("기쁨", "Joy"), ("안심", "ansim"), ("naïve – 2", "naïve – 2"), ("sad", "sad")]
)
def test_what_a_name_is_in_latin_letters(text, shown):
    assert latin(text) == shown
