"""The emotion of each segment of a film, kept on disk as it goes; what of it the model hears, how loud: short segments are
widened, too short ones left without.

A segment longer than the model was trained for is heard in equal parts, whose mean weighs by their length. A short one is widened
into the pauses around it. What was predicted before a kill isn't predicted again, and ends in the same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.config import SubtitlesConfig
from ser.data.hashes import hash_files
from ser.data.inputs import Store
from ser.data.labels import LABEL_SETS, map_label
from ser.data.speech_level import typical_level_db
from ser.runtime.errors import UserError
from ser.runtime.progress import ProgressBar, say
from ser.scoring.calibration import read_temperature, scaled
from ser.subtitle.film import Film, FilmClips
from ser.transcripts import Segment

if TYPE_CHECKING:
    from ser.models.base import Model

FORMAT = 1  # raise it when the same sound and model give other probabilities
CHUNK = 256  # windows predicted between two writes: what a kill costs
SHORTEST = SAMPLE_RATE // 10  # samples that a model needs at least, as in training (data.min_seconds)
LABELS = LABEL_SETS["subtitle7"]


@dataclass(frozen=True)
class Windows:
    """The parts of a film that the model hears: samples (start, end), and which segment each belongs to."""

    parts: list[tuple[int, int]]
    segment: np.ndarray  # (windows,) int64


def windows_of(segments: Sequence[Segment], frames: int, shortest: float, longest: float) -> Windows:
    """One window per segment, or several equal ones where it is longer than `longest` seconds.

    segments: in the order of their starts. Short ones are widened to `shortest` seconds, no further than the middle of the pauses
    around them. A segment that lies outside of the sound (frames samples), or has next to none, gets no window.
    """
    bounds = [[min(max(0, round(time * SAMPLE_RATE)), frames) for time in (part.start, part.end)] for part in segments]
    nexts = [start for start, _ in bounds[1:]]
    parts, owner, spoken_until = [], [], None
    for number, (start, end) in enumerate(bounds):
        left = 0 if spoken_until is None else min(start, (spoken_until + start) // 2)
        right = max(end, (end + nexts[number]) // 2) if number < len(nexts) else frames
        spoken_until = max(end, spoken_until or 0)
        if start < end:
            start, end = _widen(start, end, left, right, round(shortest * SAMPLE_RATE))
        if end - start < SHORTEST:
            continue
        count = -(-(end - start) // round(longest * SAMPLE_RATE))
        edges = np.linspace(start, end, count + 1).round().astype(int).tolist()
        parts += pairwise(edges)
        owner += [number] * count
    return Windows(parts, np.array(owner, np.int64))


def _widen(start: int, end: int, left: int, right: int, wanted: int) -> tuple[int, int]:
    """Grow to `wanted` samples on both sides, as far as left and right allow."""
    missing = max(0, wanted - (end - start))
    before = min(missing // 2, start - left)
    after = min(missing - before, right - end)
    return start - min(missing - after, start - left), end + after


def emotion_probabilities(
    model: str | Path, film: Film, segments: Sequence[Segment], config: SubtitlesConfig, cache: str | Path
) -> np.ndarray:
    """Probability of each of subtitle7's emotions, (segments, 7); NaN for segments without sound.

    model: a run (mean over its folds), a fold or a model folder. Emotions that the seven lack count for their nearest one; those with
    none (other, unknown) for none, so a row may sum to less than one. Raises UserError for a model that knows fewer than two of the seven.
    """
    from ser.inference.opening import load_models, model_folders
    from ser.runtime.device import make_accelerator

    accelerator = make_accelerator(config.precision)
    folders, total, seven, wanted = model_folders(model), 0.0, None, []
    for folder, (title, network) in zip(folders, load_models(model, accelerator), strict=True):
        if seven is None:
            # Heard as in training: the model's folder says how.
            seven = _into_seven(folder, network.kind, network.takes, network.label_names)
            windows = windows_of(segments, film.frames, min(config.context, network.max_seconds), network.max_seconds)
            clips = film.clips(windows.parts, network.noise_reduction)
            rows = np.flatnonzero(clips.usable)
            level = typical_level_db(clips, rows) if config.match_level else None
        wanted.append(network.speech_level_db)
        store = Store.of_clips(_as_loud_as(network.speech_level_db, clips, level))
        place = Path(cache) / "emotions" / f"{_key(folder, store, rows, config, cache)}.f64"
        with _progress(place, len(rows), len(network.label_names), f"emotions, {title}") as progress:
            predict_missing(progress, network, store, rows, int(config.batch_size), accelerator)
            total += progress.read()
    _tell_level(level, wanted)
    return _by_segment(scaled(total / len(folders), read_temperature(model)) @ seven, windows, rows, len(segments))


def check_model(model: str | Path) -> None:
    """Raise UserError for a model that can't tell the emotions of subtitles, before anything is decoded for it."""
    from ser.inference.answers import several_labels
    from ser.inference.opening import model_folders
    from ser.models.base import read_card
    from ser.models.registry import load_model, model_class

    folder = model_folders(model)[0]
    if card := read_card(folder):
        several, facts = card.get("multi_label"), (card["kind"], model_class(card["kind"]).takes, card["label_names"])
    else:  # it comes from elsewhere: only the model itself knows
        network = load_model(folder)
        several, facts = network.multi_label, (network.kind, network.takes, network.label_names)
    if several:
        raise several_labels(model)
    _into_seven(folder, *facts)


def _as_loud_as(wanted: float | None, clips: FilmClips, level: float | None) -> FilmClips:
    """The clips, whose speech has this level, at the level wanted, in dB; as they are where one of them isn't known."""
    gain = 0.0 if wanted is None or level is None else round(wanted - level, 1)
    return clips.louder(gain) if gain else clips


def _tell_level(level: float | None, wanted: Sequence[float | None]) -> None:
    """How loud the film's speech is, and how loud the models of a run heard it: one line for all of them. wanted: by each model."""
    if level is None:
        return
    known = [value for value in wanted if value is not None]
    if not known:
        say(f"how loud the training clips were isn't known of this model: the film is heard as it is, its speech at {level:.1f} dB")
    elif any(gains := [round(value - level, 1) for value in known]):
        lie, heard = _span(known, ".1f"), _span(gains, "+.1f")
        say(f"the film's speech lies at {level:.1f} dB, that of the training clips at {lie} dB: heard with {heard} dB")


def _span(values: Sequence[float], form: str) -> str:
    """The smallest and the largest of some values, once where they look the same."""
    return " to ".join(dict.fromkeys(f"{value:{form}}" for value in (min(values), max(values))))


def predict_missing(progress: Progress, network: Model, store: Store, rows: np.ndarray, batch_size: int, accelerator) -> None:
    """Predict what isn't on disk yet, a chunk at a time; all at once where the model compares clips."""
    from ser.inference.forward import predict_probabilities

    chunk = max(1, len(rows)) if network.compares_clips else CHUNK
    for start in range(progress.whole_chunks(chunk) * chunk, len(rows), chunk):
        progress.append(predict_probabilities(network, store, rows[start : start + chunk], batch_size, accelerator))


class Progress:
    """Probabilities (rows, labels) as float64 in a file that grows by whole chunks; one process at a time writes to it."""

    def __init__(self, path: Path, rows: int, labels: int, on_rows: Callable[[int], None]) -> None:
        self.path, self.rows, self.labels, self.on_rows = path, rows, labels, on_rows

    def whole_chunks(self, chunk: int) -> int:
        """How many chunks are there; the rest of one that was cut off by a kill is removed."""
        done = self.path.stat().st_size // (8 * self.labels)
        whole = done // chunk if done < self.rows else -(-self.rows // chunk)
        kept = min(whole * chunk, self.rows)
        os.truncate(self.path, kept * 8 * self.labels)
        self.on_rows(kept)
        return whole

    def append(self, probabilities: np.ndarray) -> None:
        """Add the next chunk, on the disk when this returns."""
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(probabilities, np.float64).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.on_rows(len(probabilities))

    def read(self) -> np.ndarray:
        """All rows, once they are there."""
        return np.fromfile(self.path, np.float64).reshape(self.rows, self.labels)


@contextmanager
def _progress(path: Path, rows: int, labels: int, title: str) -> Iterator[Progress]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("ab") as lock,
        ProgressBar(total=rows, unit="segment", what=title) as bar,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with its process, however that ends
        yield Progress(path, rows, labels, lambda count: bar.update(count) and None)


def _into_seven(folder: Path, kind: str, takes: str, label_names: Sequence[str]) -> np.ndarray:
    """0/1 (labels, 7): which of the seven each of a model's labels counts for."""
    if takes != "audio":
        raise UserError(f"{folder} is a {kind} model, which takes {takes}; subtitles need one that takes audio alone.")
    mapped = [map_label(name, LABELS) for name in label_names]
    if len(set(mapped) - {None}) < 2:
        raise UserError(
            f"{folder}: its labels {', '.join(label_names)} don't tell apart any two of {', '.join(LABELS)}; "
            "subtitles need a model that was trained on emotions."
        )
    return np.array([[float(label == name) for label in LABELS] for name in mapped])


def _key(folder: Path, store: Store, rows: np.ndarray, config: SubtitlesConfig, cache: str | Path) -> str:
    """What the probabilities depend on: the sound of every window, the model's files, and how it is run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    contents = hash_files(files, cache, "the model")
    made_of = [f"{FORMAT} {CHUNK} {int(config.batch_size)} {config.precision}", *store.report["audio_hash"].iloc[rows]]
    made_of += [f"{path.relative_to(folder)} {content}" for path, content in zip(files, contents, strict=True)]
    return hashlib.blake2b("\n".join(made_of).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _by_segment(probabilities: np.ndarray, windows: Windows, rows: np.ndarray, segments: int) -> np.ndarray:
    """The mean over each segment's windows, weighted by their length."""
    lengths = np.array([end - start for start, end in windows.parts], float)[rows]
    owner = windows.segment[rows]
    sums, weights = np.zeros((segments, len(LABELS))), np.zeros(segments)
    np.add.at(sums, owner, probabilities * lengths[:, None])
    np.add.at(weights, owner, lengths)
    return np.divide(sums, weights[:, None], out=np.full_like(sums, np.nan), where=weights[:, None] > 0)
