"""The report page: what stands in it is what was predicted, it needs no network, and nothing a stranger named can act in it."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import confusion_matrix

from browser import CHROMIUM, Tab, until
from ser.config import load_config
from ser.data.store import ClipStore
from ser.data.tables import read_dataset
from ser.report.page import clips
from ser.report.page.charts import interval_chart
from ser.report.page.clips import surest_mistakes
from ser.report.page.content import history_section, make_page
from ser.report.page.judged import Judged, run_facts
from ser.report.page.slices import slices
from ser.report.page.writing import write_page
from ser.runtime.files import write_json
from ser.scoring.metrics import scores
from tiny import make_tiny_data, write_tiny_config

LABELS = ("angry", "sad", "happy")
HOSTILE = "</script><script>alert(1)</script><!--"


def judged_clips(count: int = 60, wave: object = None) -> Judged:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, count)
    raw = draw.random((count, 3)) + 1.2 * np.eye(3)[labels] * (draw.random((count, 1)) < 0.7)
    facts = pd.DataFrame(
        {
            "seconds": draw.uniform(1, 5, count),
            "speaker": [f"s{number % 5}" for number in range(count)],
            "gender": ["female" if number % 2 else "male" for number in range(count)],
            "text": [HOSTILE if number % 3 else "말하다" for number in range(count)],
        }
    )
    return Judged(tuple(f"clip {n} {HOSTILE}" for n in range(count)), labels, raw / raw.sum(1, keepdims=True), LABELS, facts, wave)


def tone(name: str) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(20_000) / 16_000)).astype(np.float32)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    judged = judged_clips(wave=tone)
    history = pd.DataFrame({f"{part}_{what}": [1.0, 0.5, 0.4] for part in ("train", "valid") for what in ("loss", "accuracy")})
    found = scores(judged.labels, judged.probabilities, judged.speakers)
    content = make_page("outputs/x", "split", judged, found, [HOSTILE], history_section({0: history, 1: history}))
    return judged, write_page(content, tmp_path_factory.mktemp("page") / "report.html")


def embedded(path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    return json.loads(found[1])


def test_the_page_holds_the_confusion_that_scikit_learn_counts(page):
    judged, path = page
    assert embedded(path)["counts"] == confusion_matrix(judged.labels, judged.answers, labels=range(3)).tolist()


def test_the_clips_behind_a_cell_are_those_of_the_cell(page):
    judged, path = page
    data = embedded(path)
    for cell, rows in data["cells"].items():
        true, answer = map(int, cell.split(","))
        assert rows and all(judged.labels[row] == true and judged.answers[row] == answer for row in rows)
        assert all(data["clips"][str(row)]["id"] == judged.ids[row] for row in rows)


def test_a_clip_is_heard_at_its_length_and_pitch(page):
    _, path = page
    clip = next(iter(embedded(path)["clips"].values()))
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(clip["mp3"].split(",")[1])))
    assert rate == 16_000 and abs(len(wave) - 20_000) <= 2 * 1152
    assert abs(np.argmax(np.abs(np.fft.rfft(wave[2000:18000]))) * rate / 16000 - 440) < 3


def test_the_page_needs_no_network_and_names_of_strangers_stay_text(page):
    _, path = page
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert HOSTILE not in text and "<script>alert" not in text


def test_slices_are_the_accuracies_of_their_clips():
    judged = judged_clips()
    found = slices(judged)
    assert set(found) == {"duration", "gender", "speaker", "sentence"}
    right = pd.Series(judged.answers == judged.labels)
    assert found["gender"].set_index("group")["accuracy"].to_dict() == pytest.approx(right.groupby(judged.facts["gender"]).mean().to_dict())
    assert found["duration"]["n"].sum() == 60 and (found["duration"]["n"] == 15).all()
    assert found["speaker"]["accuracy"].is_monotonic_increasing


def test_quarters_that_round_alike_are_told_apart():
    judged = judged_clips()
    close = judged.facts.assign(seconds=np.random.default_rng(1).uniform(1.0, 1.03, 60))
    table = slices(replace(judged, facts=close))["duration"]
    assert table["group"].nunique() == 4 and (table["n"] == 15).all()


def test_sounds_end_where_the_page_is_full(monkeypatch):
    monkeypatch.setattr(clips, "MOST_BYTES", 60_000)
    shown = clips.shown_clips(judged_clips(wave=tone), [range(60)])
    heard = [row for row, clip in shown.items() if "mp3" in clip]
    assert len(shown) == 60 and heard == list(range(len(heard))) and 0 < len(heard) < 20


def test_a_long_korean_name_stays_within_the_chart():
    found = slices(judged_clips())["gender"].assign(group="가" * 40)
    assert "가" * 8 + "…" in interval_chart(found, "x") and "가" * 9 + "…" not in interval_chart(found, "x")


def test_the_surest_mistakes_come_first():
    judged = judged_clips()
    rows = surest_mistakes(judged)
    assert set(rows) == {row for row in range(60) if judged.answers[row] != judged.labels[row]}
    assert list(judged.confidence[rows]) == sorted(judged.confidence[rows], reverse=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_opens_the_page_without_an_error_and_draws_every_card(page, tmp_path):
    _, path = page
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}", "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert not re.findall(r"CONSOLE.*", done.stderr)
    assert len(re.findall(r'<article class="card"', done.stdout)) == min(12, len(surest_mistakes(judged_clips()))) + 12
    assert len(re.findall(r"<audio [^>]*src=\"data:audio", done.stdout)) >= 12


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1180])
def test_charts_can_be_read_on_a_phone_and_on_a_screen(page, tmp_path, width):
    """Their letters have 11 pixels at least, and the page itself doesn't scroll sideways."""
    letters = (
        "Array.from(document.querySelectorAll('svg text'), text => parseFloat(getComputedStyle(text).fontSize) "
        "* text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width)"
    )
    with Tab(tmp_path) as tab:
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        tab.call("Page.navigate", url=page[1].as_uri())
        until(lambda: tab.value("document.readyState") == "complete" and tab.value(letters), "no chart")
        assert min(tab.value(letters)) >= 11
        assert tab.value("document.documentElement.scrollWidth") <= width


def test_other_clips_under_the_same_ids_are_not_taken_for_those_of_a_run(tmp_path, capsys):
    """Every competition counts from TRAIN_0000."""
    data = make_tiny_data(tmp_path / "data", clips=6, test_clips=2)
    (tmp_path / "run").mkdir()
    config = load_config(write_tiny_config(tmp_path / "run" / "config.yaml", data))
    table = read_dataset(config.data).train
    hashes = ClipStore.open(table.paths, config.data).report["file_hash"]
    known = [{"id": name, "file_hash": found} for name, found in zip(table.ids, hashes, strict=True)]
    write_json(tmp_path / "run" / "data.json", {"train": known})
    assert run_facts(tmp_path / "run").wave(table.ids[0]) is not None
    other = shutil.copytree(data, tmp_path / "other")
    wave = next(other.rglob(f"{table.ids[0]}.wav"))
    wave.write_bytes(next(other.rglob(f"{table.ids[1]}.wav")).read_bytes())
    lost = shutil.copytree(data, tmp_path / "lost")
    next(lost.rglob(f"{table.ids[0]}.wav")).unlink()
    facts = run_facts(tmp_path / "run", str(lost))
    assert facts.wave(table.ids[0]) is None and facts.wave(table.ids[1]) is not None, "the others are heard"
    facts = run_facts(tmp_path / "run", str(other))
    assert facts.wave is None and f"holds other clips, e.g. {table.ids[0]}" in capsys.readouterr().out
