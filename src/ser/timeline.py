"""A timeline of emotions over a long recording (a call, a lecture, a film): overlapping windows, each predicted like a clip.

    python -m ser.timeline --model outputs/demo call.m4a --output call.csv
    python -m ser.timeline --model outputs/demo/fold_0 film.mp4 --output film.csv --window 4 --step 1

Writes a CSV with one row per window, and the picture call.png beside it. The recording is read block by block: two hours take no
more memory than a minute.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from ser.audio import SAMPLE_RATE
from ser.audio.decoding import SILENCE_DB, levels
from ser.audio.stream import AudioStream
from ser.config import build_parser, parse
from ser.errors import UserError, run_command
from ser.files import write_csv
from ser.labels import display_korean
from ser.report.timeline import plot_timeline

if TYPE_CHECKING:
    from ser.inference import Predictor

WINDOW_SECONDS, STEP_SECONDS = 5.0, 2.5
LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class Timeline:
    """The emotions of one recording.

    windows: one row each, in time order: start and end (seconds), status (ok or silent), predicted_emotion, predicted_emotion_ko,
    confidence, and p_<label> per label; a silent window has no emotion. seconds: how much of the recording was heard.
    status: ok, or what is wrong with the file (missing, undecodable, truncated, non_finite, too_short); windows then cover what
    could be read. detail says more.
    """

    path: str
    status: str
    detail: str
    seconds: float
    windows: pd.DataFrame

    @property
    def shares(self) -> dict[str, float]:
        """Share of each emotion among the windows that have one, the commonest first."""
        counts = Counter(self.windows["predicted_emotion"].dropna())
        return {name: count / counts.total() for name, count in counts.most_common()}


def predict_timeline(
    predictor: Predictor,
    path: str | Path,
    window: float | None = None,
    step: float | None = None,
    progress: bool = True,
) -> Timeline:
    """Predict a recording of any length by windows of `window` seconds, one every `step` seconds; the last one ends with the recording.

    window: default 5 s, or what the model hears at once if that is less. step: default half the window. Memory is bounded by one
    batch of windows. Raises UserError for an impossible window or step, and for a model that compares clips with each other.
    """
    window, step = checked_window(predictor, window, step)
    stream = AudioStream(path)
    rows: list[dict] = []
    heard = 0
    with tqdm(desc=Path(path).name, unit="s", delay=2, disable=None if progress else True, leave=False) as bar:
        for batch in _batches(cut_windows(stream, window, step), predictor.batch_size):
            rows += _predict(predictor, batch)
            heard = batch[-1][0] + len(batch[-1][1])
            bar.total = None if stream.seconds is None else round(stream.seconds)
            bar.update(round(heard / SAMPLE_RATE) - bar.n)
    columns = ["start", "end", "status", "predicted_emotion", "predicted_emotion_ko", "confidence"]
    table = pd.DataFrame(rows, columns=[*columns, *(f"p_{name}" for name in predictor.label_names)])
    status, detail = stream.status, stream.detail
    if status == "ok" and not rows:
        status, detail = "too_short", f"less than {LEAST_SECONDS:g} s of sound"
    return Timeline(str(path), status, detail, heard / SAMPLE_RATE, table)


def checked_window(predictor: Predictor, window: float | None, step: float | None) -> tuple[float, float]:
    """Window and step in seconds, with their defaults. Raises UserError."""
    if predictor.compares_clips:
        raise UserError(
            f"{predictor.model} finds the voices among all clips it is given together; "
            "a timeline needs a model that judges each window alone."
        )
    longest = predictor.max_seconds
    window = min(WINDOW_SECONDS, longest) if window is None else window
    step = window / 2 if step is None else step
    if not LEAST_SECONDS <= window <= longest:
        raise UserError(f"window: given {window:g} s; allowed are {LEAST_SECONDS:g} to {longest:g} s, which the model hears at once.")
    if not LEAST_SECONDS <= step <= window:
        raise UserError(
            f"step: given {step:g} s; allowed are {LEAST_SECONDS:g} s to the window's {window:g} s, so that nothing is left out."
        )
    return window, step


def cut_windows(blocks: Iterable[np.ndarray], window: float, step: float) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, int16 samples) of windows over blocks of int16 at 16 kHz, holding no more than a window and a block.

    All are of equal length, the last one ending with the recording; only a recording shorter than a window gives a shorter one, and
    one under 0.1 s none.
    """
    length, hop = round(window * SAMPLE_RATE), round(step * SAMPLE_RATE)
    held, first, next_start = np.zeros(0, np.int16), 0, 0
    for block in blocks:
        held = np.concatenate([held, block])
        while first + len(held) >= next_start + length:
            yield next_start, held[next_start - first : next_start - first + length].copy()
            next_start += hop
        # The last window may have to begin before the next one would.
        keep = max(0, len(held) - length)
        held, first = held[keep:], first + keep
    end = first + len(held)
    covered = next_start - hop + length if next_start else 0
    if end > covered and len(held) >= LEAST_SECONDS * SAMPLE_RATE:
        yield first, held


def _batches(windows: Iterable[tuple[int, np.ndarray]], size: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    waiting: deque[tuple[int, np.ndarray]] = deque()
    for item in windows:
        waiting.append(item)
        if len(waiting) == size:
            yield list(waiting)
            waiting.clear()
    if waiting:
        yield list(waiting)


def _predict(predictor: Predictor, batch: list[tuple[int, np.ndarray]]) -> list[dict]:
    spoken = [place for place, (_, samples) in enumerate(batch) if levels(samples)[0] >= SILENCE_DB]
    probabilities = predictor.probabilities([batch[place][1] for place in spoken]) if spoken else ()
    rows = [
        {"start": start / SAMPLE_RATE, "end": (start + len(samples)) / SAMPLE_RATE, "status": "silent", "predicted_emotion": None}
        for start, samples in batch
    ]
    for place, of_window in zip(spoken, probabilities, strict=True):
        best = int(of_window.argmax())
        name = predictor.label_names[best]
        rows[place] |= {"status": "ok", "predicted_emotion": name, "predicted_emotion_ko": display_korean(name)}
        rows[place] |= {"confidence": of_window[best]} | {
            f"p_{label}": p for label, p in zip(predictor.label_names, of_window, strict=True)
        }
    return rows


def write_timeline(timeline: Timeline, path: str | Path) -> list[Path]:
    """Write the windows as a CSV, and the picture with the same name beside it; returns both paths. Raises UserError."""
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise UserError(f"--output: given {path}; the ending must be .csv (the picture gets .png).")
    picture = path.with_suffix(".png")
    write_csv(path, timeline.windows)
    plot_timeline(timeline.windows, picture, Path(timeline.path).name)
    return [path, picture]


def main(argv: list[str]) -> None:
    parser = build_parser("timeline", __doc__, sections=[], usage="--model RUN FILE --output FILE.csv [--window 5] [--step 2.5]")
    parser.add_argument("--model", type=str, required=True, help="Run folder (outputs/X), fold folder, model folder or hub name.")
    parser.add_argument("--output", type=str, required=True, help="CSV to write; the picture goes beside it.")
    parser.add_argument("--window", type=float | None, default=None, help="Seconds per window; default 5, or what the model hears.")
    parser.add_argument("--step", type=float | None, default=None, help="Seconds from one window to the next; default half a window.")
    parser.add_argument("--batch_size", type=int, default=16, help="Windows in one forward pass.")
    parser.add_argument("--precision", type=str, default="auto", help="auto, fp32, bf16 or fp16.")
    parser.add_argument("path", type=str, help="Audio or video file of any length.")
    _, arguments = parse(parser, argv)
    from ser.inference import Predictor

    predictor = Predictor(arguments.model, arguments.batch_size, arguments.precision)
    timeline = predict_timeline(predictor, arguments.path, arguments.window, arguments.step)
    if not len(timeline.windows):
        raise UserError(f"{arguments.path} can't be used: {timeline.status} ({timeline.detail}).")
    written = write_timeline(timeline, arguments.output)
    for name, share in timeline.shares.items():
        print(f"{name}  {100 * share:.0f} %")
    if timeline.status != "ok":
        print(f"warning: {arguments.path} is {timeline.status} ({timeline.detail}); the windows cover {timeline.seconds:.1f} s of it")
    print(f"made {' and '.join(map(str, written))}: {len(timeline.windows)} windows over {timeline.seconds:.1f} s")


if __name__ == "__main__":
    run_command(main)
