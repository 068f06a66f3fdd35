"""What the page says about one recording, one text, or both (by a model that takes both; one of voices passes the text over)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser.audio import SAMPLE_RATE, to_float
from ser.data.labels import display_korean, english, is_emotion
from ser.korean.engine import InferenceEngine
from ser.runtime.errors import UserError
from ser.timeline.picture import plot_timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMELINE_SECONDS = 8.0
"""Longer recordings get a timeline besides the one answer."""
PLOTTED_POINTS = 2_000
SHOWN_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """heading: Markdown. probabilities: by bilingual name, {} where the recording can't be used. timeline: a PNG, or None."""

    heading: str
    probabilities: dict[str, float]
    waveform: Figure | None
    timeline: Path | None


def bilingual(label: str) -> str:
    """`분노 · Angry`; the label itself where the registry doesn't know it."""
    return f"{display_korean(label)} · {english(label)}" if is_emotion(label) else label


def answer(engine: InferenceEngine, path: str | Path | None, text: str = "", folder: str | Path | None = None) -> Answer:
    """Predict one recording, with what is said in it where the model reads too; of a model of texts the text alone.

    What can't be used gets its status and no emotion. folder: where the timeline's picture goes, else a temporary folder of its own.
    """
    if engine.takes == "text":
        found = engine.predict_texts(text)[0]
    elif path is None:
        return Answer("### 녹음도 필요합니다 · a recording is needed, too", {}, None, None)
    else:
        found = engine.predict_single(path, text=text if engine.takes == "audio and text" else None)
    if found["predicted_emotion"] is None:
        return Answer(f"### 사용할 수 없음 · not usable: {found['status']}\n\n{found['detail']}", {}, None, None)
    facts = [f"{found['duration']:.1f} s"] * (engine.takes != "text") + [found["detail"] or found["status"]] * (found["status"] != "ok")
    heading = f"## {bilingual(found['predicted_emotion'])} {found['confidence']:.0%}\n\n{' · '.join(facts)}"
    probabilities = {bilingual(label): share for label, share in found["probabilities"].items()}
    if engine.takes == "text":
        return Answer(heading, probabilities, None, None)
    timeline = None
    if engine.takes == "audio" and found["duration"] > TIMELINE_SECONDS:
        try:
            timeline = _timeline(engine, path, folder)
        except UserError as error:  # models that compare clips with each other have none
            heading += f"\n\n{error}"
    return Answer(heading, probabilities, _waveform(engine, path), timeline)


def _timeline(engine: InferenceEngine, path: str | Path, folder: str | Path | None) -> Path | None:
    windows = engine.predict_timeline(path).windows
    if not len(windows):
        return None
    png = Path(tempfile.mkdtemp(prefix="timeline-", dir=folder)) / "timeline.png"
    plot_timeline(windows, png, "")
    return png


def _waveform(engine: InferenceEngine, path: str | Path) -> Figure | None:
    """The first minute, or what the model hears where the file is damaged behind that: loudest and quietest sample of each stretch."""
    from matplotlib.figure import Figure

    # In a process of its own, as the model's clips are: a damaged file may crash its decoder.
    lengths = (SHOWN_SECONDS, engine.predictor.max_seconds)
    clips = (next(engine.decoders.decode_all([path], max_seconds=seconds)) for seconds in lengths)
    clip = next((clip for clip in clips if clip.usable), None)
    if clip is None:
        return None
    wave = to_float(clip.samples)
    width = max(1, len(wave) // PLOTTED_POINTS)
    parts = wave[: len(wave) // width * width].reshape(-1, width)
    seconds = np.arange(len(parts)) * width / SAMPLE_RATE
    figure = Figure(figsize=(10, 1.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(seconds, parts.min(1), parts.max(1), color="#1f77b4", linewidth=0.4)
    axes.set(xlim=(0, len(wave) / SAMPLE_RATE), ylim=(-1, 1), xlabel="seconds", yticks=(-1, 0, 1))
    return figure
