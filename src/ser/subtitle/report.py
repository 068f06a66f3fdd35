"""What was found in a film: emotions over time, the share of each, what was left out, how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.report.pictures import save_figure
from ser.report.tables import markdown_table
from ser.runtime.files import write_text
from ser.runtime.stages import Stage
from ser.subtitle.cues import Layout
from ser.subtitle.emotion_segments import LABELS, EmotionSegment
from ser.subtitle.quality import Broken, as_table
from ser.subtitle.text import clean
from ser.subtitle.theme import Theme
from ser.transcripts import Dropped

EXPLANATION = (
    "The share counts what is shown: unsure segments are neutral. The probability is the mean over the segments with sound. "
    "Nobody has compared these emotions with a person's judgement."
)
SHOWN = 20
POINTS = 400


def write_report(
    path: Path,
    head: dict[str, str],
    segments: Sequence[EmotionSegment],
    dropped: Sequence[Dropped],
    layout: Layout,
    broken: Sequence[Broken] = (),
) -> None:
    """Write the report as Markdown. head: what to say about the film and the model, by name. broken: rules that cues break."""
    silent = sum(segment.probabilities is None for segment in segments)
    lines = ["# Emotion subtitles", "", *(f"- {name}: {value}" for name, value in head.items() if value)]
    lines += [f"- segments: {len(segments)}, subtitles: {len(layout.cues)}", "", "## Share of each emotion", ""]
    lines += [markdown_table(shares(segments)), "", EXPLANATION, "", "## Left out, and other remarks", ""]
    remarks = {
        "no sound there, shown as neutral": silent,
        "overlapping speech: ends when the next begins": layout.overlapping,
        "subtitles shorter than the least time (the next one comes)": layout.short,
        "subtitles faster than the reading speed (the next one comes)": layout.fast,
    }
    reasons = Counter(part.reason for part in dropped)
    lines += [f"- left out, {reason}: {count}" for reason, count in reasons.items()]
    lines += [f"- {name}: {count}" for name, count in remarks.items() if count]
    lines += [] if reasons or any(remarks.values()) else ["Nothing."]
    if dropped:
        table = pd.DataFrame([{"start": part.start, "end": part.end, "reason": part.reason, "text": clean(part.text)} for part in dropped])
        more = [f"… and {len(dropped) - SHOWN} more", ""] if len(dropped) > SHOWN else []
        lines += ["", markdown_table(table.head(SHOWN)), "", *more]
    write_text(path, "\n".join([*lines, *_quality(broken)]) + "\n")


def _quality(broken: Sequence[Broken]) -> list[str]:
    """How often each rule is broken, and where it is worst; `.quality.csv` has every case."""
    lines = ["", "## Rules that subtitles break", ""]
    if not broken:
        return [*lines, "None."]
    table = as_table(broken)
    rows = []
    for rule, cases in table.groupby("rule", sort=False):
        worst = cases.loc[(cases["value"] - cases["allowed"]).abs().idxmax()]
        rows.append({"rule": rule, "cues": len(cases), "allowed": worst["allowed"], "worst": worst["value"], "at (s)": worst["start"]})
    return [*lines, markdown_table(pd.DataFrame(rows)), "", f"{table['cue'].nunique()} subtitles; every case is in the .quality.csv."]


def shares(segments: Sequence[EmotionSegment]) -> pd.DataFrame:
    """One row per emotion: segments shown in it, their share, their seconds, and its mean probability over segments with sound."""
    heard = np.array([segment.probabilities for segment in segments if segment.probabilities is not None]).reshape(-1, len(LABELS))
    means = heard.mean(axis=0) if len(heard) else np.full(len(LABELS), np.nan)
    rows = []
    for label, mean in zip(LABELS, means.tolist(), strict=True):
        own = [segment for segment in segments if segment.style == label]
        seconds = sum(segment.end - segment.start for segment in own)
        rows.append({"emotion": label, "segments": len(own), "share": len(own) / max(len(segments), 1), "seconds": round(seconds, 1)})
        rows[-1]["probability"] = mean
    return pd.DataFrame(rows)


def plot_emotions(path: Path, segments: Sequence[EmotionSegment], theme: Theme, seconds: float) -> None:
    """Emotions over time (probabilities, averaged where there are many segments) and the share of each, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    over_time, share = figure.subplots(1, 2, width_ratios=(5, 1))
    heard = [segment for segment in segments if segment.probabilities is not None]
    colours = ["#9a9a9a" if label == "neutral" else theme.looks[label].colour for label in LABELS]
    times, means = _over_time(heard, seconds)
    unit, length = ("minutes", 60) if seconds >= 120 else ("seconds", 1)
    over_time.stackplot(times / length, means.T, colors=colours, labels=LABELS, step="mid")
    over_time.set(
        xlabel=unit, ylabel="probability", ylim=(0, 1), xlim=(0, seconds / length), title=f"{len(heard)} segment{'s' * (len(heard) != 1)}"
    )
    counts = shares(segments)
    share.barh(range(len(LABELS)), counts["share"], color=colours)
    share.set_yticks(range(len(LABELS)), LABELS)
    share.invert_yaxis()
    share.set(xlabel="share of segments", xlim=(0, 1), title="shown")
    figure.legend(*over_time.get_legend_handles_labels(), loc="outside lower center", ncols=len(LABELS), frameon=False)
    save_figure(figure, path)


def _over_time(segments: Sequence[EmotionSegment], seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Equal steps of the film's time (POINTS,) in seconds, and the mean probabilities (POINTS, 7) of what is said then; 0 in pauses."""
    sums, counts = np.zeros((POINTS, len(LABELS))), np.zeros(POINTS)
    for segment in segments:
        first, last = (min(int(time / max(seconds, 1e-9) * POINTS), POINTS - 1) for time in (segment.start, segment.end))
        sums[first : last + 1] += segment.probabilities
        counts[first : last + 1] += 1
    return (np.arange(POINTS) + 0.5) * seconds / POINTS, sums / np.maximum(counts, 1)[:, None]


def timing(stages: Sequence[Stage], seconds: float) -> dict:
    """Seconds, memory and real-time factor (time of work by time of film) of the stages and of all together."""
    total = sum(stage.seconds for stage in stages)
    return {
        "film_seconds": round(seconds, 2),
        "seconds": round(total, 2),
        "real_time_factor": round(total / max(seconds, 1e-9), 5),
        "peak_memory_mb": round(max(stage.peak_mb for stage in stages)),
        "stages": {
            stage.name: {
                "seconds": round(stage.seconds, 2),
                "memory_before_mb": round(stage.before_mb),
                "peak_memory_mb": round(stage.peak_mb),
                "gpu_peak_mb": round(stage.gpu_peak_mb),
            }
            for stage in stages
        },
    }
