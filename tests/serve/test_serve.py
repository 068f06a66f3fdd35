"""The page: what it says about a clip, and in a real browser where gradio, playwright and chromium are there."""

import shutil

import numpy as np
import pytest

from checkpoints import LABELS
from ser.config import ModelConfig
from ser.korean.engine import create_inference_engine
from ser.models.registry import build_model
from ser.runtime.errors import UserError
from ser.serve.answer import answer, bilingual
from sounds import tone, write_wav


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve") / "model"
    build_model(ModelConfig(kind="mfcc_lstm_delta"), LABELS, 4.0).save(folder)
    return create_inference_engine(folder)


def test_short_clip_has_an_answer_in_both_languages_and_no_timeline(engine, tmp_path):
    found = answer(engine, write_wav(tmp_path / "a.wav", tone(2.0)))
    assert list(found.probabilities) == [bilingual(name) for name in LABELS]
    assert found.probabilities["분노 · Angry"] == engine.predict_single(tmp_path / "a.wav")["probabilities"]["angry"]
    assert max(found.probabilities, key=found.probabilities.get) in found.heading
    assert found.timeline is None
    assert found.waveform is not None


def test_long_recording_has_a_timeline(engine, tmp_path):
    found = answer(engine, write_wav(tmp_path / "long.wav", tone(12.0)))
    assert found.timeline.read_bytes().startswith(b"\x89PNG")
    assert "12.0 s" in found.heading


def test_recording_that_cannot_be_used_says_why_and_has_no_emotion(engine, tmp_path):
    found = answer(engine, write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.float32)))
    assert "silent" in found.heading
    assert found.probabilities == {}


def test_missing_gradio_is_told(engine, monkeypatch):
    import sys

    from ser.serve.__main__ import build_page

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"requirements-serve.txt"):
        build_page(engine, "x")


def test_uploaded_clip_is_answered_in_a_browser(engine, tmp_path):
    pytest.importorskip("gradio")
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    from ser.serve.__main__ import build_page

    clip = write_wav(tmp_path / "long.wav", tone(12.0))
    page = build_page(engine, "tiny")
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        with sync.sync_playwright() as browsers:
            browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1000, "height": 1500})
            tab.set_default_timeout(120_000)
            tab.goto(address, wait_until="domcontentloaded")
            tab.locator("input[type=file]").first.set_input_files(str(clip))
            expected = answer(engine, clip)
            first = max(expected.probabilities, key=expected.probabilities.get)
            tab.get_by_role("heading", name=first).first.wait_for()
            tab.locator("img[src*=timeline]").first.wait_for()
            text = tab.inner_text("body")
            tab.wait_for_timeout(1000)
            tab.screenshot(path=str(tmp_path / "page.png"), full_page=True)
            browser.close()
    finally:
        page.close()
    assert all(bilingual(name) in text for name in LABELS)
