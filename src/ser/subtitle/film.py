"""The sound of a film on disk: decoded in a stream to one file of int16 samples, so that hours of it are never in memory.

It is kept in the cache under the hash of the film's bytes, in the form of a clip store, so that a segment is a clip of it.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser.audio import SAMPLE_RATE, to_float
from ser.audio.noise import reduce_noise
from ser.audio.status import SILENCE_DB, levels
from ser.audio.stream import AudioStream
from ser.data.hashes import hash_files
from ser.data.store import REPORT, ClipStore, hash_samples
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, read_json, remove_leftovers, write_json
from ser.runtime.progress import ProgressBar

FORMAT = 2  # raise it when decoding changes what a film becomes
SHORTEST = SAMPLE_RATE // 10  # samples


@dataclass(frozen=True)
class Film:
    """A decoded film or recording: its samples on disk (`folder/audio.i16`), what was found wrong with it ("" if nothing), and
    which of several audio tracks it is ("" where there is one)."""

    folder: Path
    frames: int
    content: str
    problem: str
    track: str = ""

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.frames / SAMPLE_RATE

    @property
    def length(self) -> str:
        """The length in words; of a damaged file that of what was decoded."""
        told = f"{self.seconds / 60:.1f} min" if self.seconds >= 60 else f"{self.seconds:.1f} s"
        return f"{told} of sound" + " (all that can be decoded of the damaged file)" * bool(self.problem)

    def samples(self) -> np.ndarray:
        """int16 (T,), a memory map."""
        return np.memmap(self.folder / "audio.i16", np.int16, "r", shape=(self.frames,))

    def read(self, start: int, end: int) -> np.ndarray:
        """int16 samples of a part. Read, not mapped: the pages of a map would count as memory that the program needs."""
        return _read(self.folder, start, end - start)

    def clips(self, parts: list[tuple[int, int]], noise_reduction: bool = False) -> FilmClips:
        """A store whose clips are these parts (start, end) of the film; those without sound are unusable, status silent.

        noise_reduction: damp noise in each part, as in training of a model that wants it; the parts then get a file of their own.
        """
        folder, starts = self.folder, [start for start, _ in parts]
        if noise_reduction:
            key = hashlib.blake2b(np.array(parts, np.int64).tobytes(), digest_size=8).hexdigest()
            folder = self.folder.with_name(f"{self.folder.name}-quieter-{key}")
            with atomic_folder(folder) as temporary, (temporary / "audio.i16").open("wb") as audio:
                for start, end in parts:
                    audio.write(reduce_noise(self.read(start, end)).tobytes())
            lengths = [end - start for start, end in parts]
            starts = (np.cumsum([0, *lengths])[:-1]).tolist()
        rows, frames = [], []
        for place, (start, end) in zip(starts, parts, strict=True):
            samples = _read(folder, place, end - start)
            peak_db, rms_db = levels(samples)
            audible = len(samples) > 0 and peak_db >= SILENCE_DB
            audio_hash = hash_samples(samples.tobytes() if audible else b"")
            rows.append([str(folder), "ok" if audible else "silent", "", "", (end - start) / SAMPLE_RATE, SAMPLE_RATE, 1])
            rows[-1] += [self.content, audio_hash, peak_db, rms_db]
            frames.append(len(samples) if audible else 0)
        return FilmClips(folder / "audio.i16", pd.DataFrame(rows, columns=REPORT), np.array(starts, np.int64), np.array(frames, np.int64))


class FilmClips(ClipStore):
    """Clips that are read, not mapped, for the reason given in `Film.read`."""

    gain = 1.0

    def __getitem__(self, row: int) -> np.ndarray:
        return to_float(_read(self.folder, self.offsets[row], self.frames[row])) * np.float32(self.gain)

    def louder(self, decibels: float) -> FilmClips:
        """The same clips, heard by so much louder, beyond full scale too: other sound, so with hashes of its own."""
        made, name = copy(self), f"{decibels:+.1f} dB"
        made.gain = 10 ** (decibels / 20)
        hashes = [hash_samples(f"{own} {name}".encode()) if own else "" for own in self.report["audio_hash"]]
        made.report = self.report.assign(audio_hash=hashes)
        return made


def frame_rate(path: str | Path) -> float | None:
    """Frames a second of a film's picture; None where there is none, or the file doesn't say."""
    import av

    with suppress(av.error.FFmpegError, OSError), av.open(f"file:{Path(path).resolve()}") as source:
        for stream in source.streams.video:
            rate = stream.average_rate or stream.guessed_rate
            if rate and not stream.disposition & av.stream.Disposition.attached_pic:
                return float(rate)
    return None


def open_film(path: str | Path, cache: str | Path, audio_track: int | None = None) -> Film:
    """The sound of a film or recording at 16 kHz mono, decoded now if it isn't in the cache yet.

    Any audio or video file that the rest of this project reads; of several sound tracks the one a player starts with, or number
    `audio_track`, from 1. Time 0 is where players begin.
    Raises UserError for a file that can't be used; what is merely damaged is decoded as far as it goes and told in `problem`.
    """
    path = Path(path)
    (content,) = hash_files([path], cache, "the film")
    if isinstance(content, OSError):
        raise UserError(f"{path}: can't be read ({content.strerror or content}).")
    folder = Path(cache) / f"recording-{content}-{FORMAT}{f'-track{audio_track}' if audio_track else ''}"
    film = _recall(folder, content)
    if film is None:
        _decode(path, folder, audio_track)
        film = _recall(folder, content)
    if film is None:
        raise UserError(f"{folder}: can't be read back after writing it. Is the disk sound? Another --data.cache may help.")
    return film


def _read(folder: Path, start: int, count: int) -> np.ndarray:
    return np.fromfile(folder / "audio.i16", np.int16, count, offset=2 * start)


def _recall(folder: Path, content: str) -> Film | None:
    try:
        facts = read_json(folder / "recording.json")
        whole = (folder / "audio.i16").stat().st_size == 2 * facts["frames"]
        return Film(folder, int(facts["frames"]), content, str(facts["problem"]), str(facts["track"])) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(path: Path, folder: Path, audio_track: int | None) -> None:
    remove_leftovers(folder.parent, alone=False)
    stream, frames = AudioStream(path, audio_track), 0
    with atomic_folder(folder) as temporary:
        with (temporary / "audio.i16").open("wb") as audio, ProgressBar(what="decoding", unit="s") as bar:
            for block in stream:
                audio.write(block.tobytes())
                frames += len(block)
                bar.total = None if stream.seconds is None else max(round(stream.seconds), frames // SAMPLE_RATE)
                bar.update(frames // SAMPLE_RATE - bar.n)
        if frames < SHORTEST:
            reason = stream.detail or f"{frames / SAMPLE_RATE * 1000:.0f} ms of sound"
            raise UserError(f"{path}: there is nothing to subtitle in it ({reason}).")
        write_json(temporary / "recording.json", {"frames": frames, "problem": stream.detail, "track": stream.track})
