"""The page: what it says about a clip, over HTTP, and in a real browser where the machine has Chromium."""

from pathlib import Path

import numpy as np
import pytest

from browser import CHROMIUM, Tab
from checkpoints import LABELS
from ser.config import FusionConfig, ModelConfig
from ser.data.inputs import Store
from ser.data.utterance import Utterance
from ser.korean.engine import create_inference_engine
from ser.models.registry import build_model
from ser.runtime.errors import UserError
from ser.serve.answer import answer, bilingual
from sounds import tone, write_soundfile, write_wav


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
    (tmp_path / "pictures").mkdir()
    found = answer(engine, write_wav(tmp_path / "long.wav", tone(12.0)), folder=tmp_path / "pictures")
    assert (tmp_path / "pictures") in found.timeline.parents, "nothing is left elsewhere"
    assert found.timeline.read_bytes().startswith(b"\x89PNG")
    assert "12.0 s" in found.heading


def test_recording_damaged_behind_what_the_model_hears_shows_what_it_heard(engine, tmp_path):
    whole = write_soundfile(
        tmp_path / "whole.flac", tone(9.0) + 0.01 * np.random.default_rng(0).standard_normal(9 * 16_000), 16_000, "FLAC"
    )
    content = bytearray(whole.read_bytes())
    start = len(content) * 7 // 9
    content[start:] = bytes(len(content) - start)
    (tmp_path / "damaged.flac").write_bytes(content)
    found = answer(engine, tmp_path / "damaged.flac", folder=tmp_path)
    assert found.probabilities
    shown = found.waveform.axes[0].get_xlim()[1]
    assert engine.predictor.max_seconds - 0.1 <= shown < 9.0


def test_recording_that_cannot_be_used_says_why_and_has_no_emotion(engine, tmp_path):
    found = answer(engine, write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.float32)))
    assert "silent" in found.heading
    assert found.probabilities == {}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Engines of texts, and of audio and text."""
    folder = tmp_path_factory.mktemp("readers")
    texts = ["화가 난다", "눈물이 난다", "정말 좋다"] * 3
    labels = np.arange(9) % 3
    words = build_model(ModelConfig(kind="text_ngrams"), LABELS[:3], 4.0)
    words.fit(Store.of_texts(texts), np.arange(9), labels, 0)
    both = build_model(ModelConfig(kind="fusion", fusion=FusionConfig(text="ngrams", ngram_size=4)), LABELS[:3], 4.0)
    both.fit_statistics([Utterance(tone(0.5, hz=100 + place), text) for place, text in enumerate(texts)], labels)
    words.save(folder / "words")
    both.save(folder / "both")
    return {name: create_inference_engine(folder / name) for name in ("words", "both")}


def test_text_is_answered_by_a_model_of_texts_and_an_empty_one_says_why_not(readers):
    found = answer(readers["words"], None, " 정말  좋다\n")
    assert found.probabilities[bilingual(LABELS[2])] == max(found.probabilities.values())
    assert (found.waveform, found.timeline) == (None, None)
    assert "empty_text" in answer(readers["words"], None, " ").heading
    several = readers["words"].predict_texts(["정말 좋다", "", "화가 난다"])
    assert [result["status"] for result in several] == ["ok", "empty_text", "ok"]
    assert [result["predicted_emotion"] for result in several] == [LABELS[2], None, LABELS[0]]


def test_recording_and_words_are_answered_together_and_without_words_the_page_says_so(readers, tmp_path):
    clip = write_wav(tmp_path / "a.wav", tone(3.0))
    with_words, without = answer(readers["both"], clip, "눈물이 난다"), answer(readers["both"], clip)
    assert with_words.probabilities != without.probabilities
    assert "audio alone" in without.heading and "audio alone" not in with_words.heading
    assert with_words.waveform is not None
    assert "녹음도 필요합니다" in answer(readers["both"], None, "눈물이 난다").heading
    batch = readers["both"].predict_batch([clip, clip], texts=["눈물이 난다", ""])
    assert [result["status"] for result in batch] == ["ok", "no_transcript"]
    assert list(batch[0]["probabilities"].values()) == pytest.approx(list(with_words.probabilities.values()), abs=1e-5)


def test_a_model_is_given_what_it_takes_or_says_what_that_is(engine, readers, tmp_path):
    clip = write_wav(tmp_path / "a.wav", tone(0.5))
    with pytest.raises(UserError, match="takes text; given audio"):
        readers["words"].predict_single(clip)
    with pytest.raises(UserError, match="takes audio; given text"):
        engine.predict_texts(["x"])
    with pytest.raises(UserError, match="takes audio; given audio and text"):
        engine.predict_single(clip, text="x")
    with pytest.raises(UserError, match="2 paths and 1 texts"):
        readers["both"].predict_batch([clip, clip], texts=["x"])
    with pytest.raises(UserError, match="a timeline has no words"):
        readers["both"].predict_timeline(clip)


def test_missing_gradio_is_told(engine, monkeypatch):
    import sys

    from ser.serve.__main__ import build_page

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"requirements-serve.txt"):
        build_page(engine, "x")


@pytest.fixture(scope="module")
def page(engine, tmp_path_factory):
    """The address of the page, served from a thread of this process."""
    pytest.importorskip("gradio")
    from ser.serve.__main__ import build_page

    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))  # as the command does it: gradio shows no file from elsewhere
        page = build_page(engine, "tiny", folder)
        _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
        yield address
        page.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_wav(tmp_path_factory.mktemp("recording") / "long.wav", tone(12.0))


def test_uploaded_clip_is_answered_over_http(engine, page, recording):
    gradio_client = pytest.importorskip("gradio_client")
    expected = answer(engine, recording)
    client = gradio_client.Client(page, verbose=False)
    heading, probabilities, waveform, timeline = client.predict(gradio_client.handle_file(str(recording)), api_name="/predict")
    assert heading == expected.heading
    shown = {row["label"]: row["confidence"] for row in probabilities["confidences"]}
    assert shown == pytest.approx(expected.probabilities, abs=1e-6) and len(shown) == len(LABELS)
    assert waveform["plot"].startswith("data:image/") and Path(timeline).read_bytes()[:4] == expected.timeline.read_bytes()[:4]
    assert client.predict(None, api_name="/predict")[0] == "", "nothing given, nothing said"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_uploaded_clip_is_answered_in_a_browser(engine, page, recording, tmp_path):
    best = max((probabilities := answer(engine, recording).probabilities), key=probabilities.get)
    with Tab(tmp_path / "profile") as tab:
        tab.call("Page.navigate", url=page)
        tab.upload("input[type=file]", recording)
        tab.wait_for(f"[...document.querySelectorAll('h2')].some(heading => heading.innerText.includes({best!r}))")
        tab.wait_for("[...document.querySelectorAll('img')].some(image => image.src.includes('timeline') && image.naturalWidth > 300)")
        text = tab.value("document.body.innerText")
        tab.picture(tmp_path / "page.png")
    assert all(bilingual(name) in text for name in LABELS)
    assert (tmp_path / "page.png").stat().st_size > 20_000
