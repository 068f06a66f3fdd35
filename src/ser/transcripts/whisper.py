"""Speech to text by faster-whisper (SYSTRAN; Whisper: Radford et al. 2022).

Whisper invents sentences where nobody speaks (in Korean often 시청해주셔서 감사합니다). So only what voice activity detection
takes for speech is transcribed, and what Whisper puts where there is none is dropped and counted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser.audio import SAMPLE_RATE, to_float
from ser.audio.decoding import SILENCE_DB, levels
from ser.config import SpeechConfig
from ser.data.hashes import hash_files
from ser.data.store import ClipStore
from ser.runtime.errors import UserError
from ser.runtime.files import write_json
from ser.transcripts.segments import Dropped, Segment, Transcript, Word
from ser.transcripts.voice_activity import check_installed, speech_spans
from ser.transcripts.whisper_folder import whisper_folder

FORMAT = 1  # raise it when the same audio, model and options give other segments
PIECE_SECONDS = 300.0  # transcribed at a time: bounds the memory, and the work lost with a kill
LEAST_SPEECH = 0.1  # share of a segment in which voice activity detection must hear speech
SEED = 0  # for the random sampling that Whisper falls back to


def transcribe(store: ClipStore, rows: Sequence[int], model: str, config: SpeechConfig, title: str = "speech to text") -> list[Transcript]:
    """What is said in the given (usable) rows of a store, one transcript each, in order.

    model: a faster-whisper model by folder, size or hub name. It is loaded for clips that aren't in the cache, and released at the end.
    Raises UserError where faster-whisper isn't installed or the model can't be had.
    """
    with_model = Transcriber(model, config)
    bar = tqdm(rows, title, unit="clip", delay=2, disable=None, leave=False)
    return [with_model.transcribe(np.rint(store[row] * 32768).astype(np.int16)) for row in bar]


class Transcriber:
    """One model and its options. The weights are loaded when the first piece of audio isn't in the cache."""

    def __init__(self, model: str, config: SpeechConfig) -> None:
        check_installed()
        import faster_whisper

        self.config = config
        self.folder = whisper_folder(model)
        self.cache = Path(config.cache) / "transcripts"
        self.weights = None
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        contents = hash_files(files, config.cache, "the model")
        options = {key: value for key, value in dataclasses.asdict(config).items() if key != "cache"}
        self.made_by = {
            "format": FORMAT,
            "backend": f"faster-whisper {faster_whisper.__version__}",
            "model": [[path.name, str(content)] for path, content in zip(files, contents, strict=True)],
            "options": {key: value if isinstance(value, bool) else str(value) for key, value in options.items()},
        }

    def transcribe(self, samples: np.ndarray, title: str | None = None) -> Transcript:
        """What is said in int16 samples (T,) at 16 kHz, which may be a memory map. title: shows a progress bar in seconds of audio."""
        spans = speech_spans(samples, PIECE_SECONDS)
        language = None if self.config.language == "auto" else self.config.language
        segments, dropped = [], []
        with tqdm(total=len(samples) // SAMPLE_RATE, unit="s", desc=title, disable=None if title else True, delay=2, leave=False) as bar:
            for start, end in _pieces(spans):
                piece = np.array(samples[start:end])
                heard = self._piece(piece, language)
                # The language of the first speech holds for the whole recording.
                language = language or heard["language"]
                found = [_segment(row, start / SAMPLE_RATE, len(samples) / SAMPLE_RATE) for row in heard["segments"]]
                kept, silent = drop_invented(found, samples, spans)
                segments += kept
                dropped += silent
                bar.update(end // SAMPLE_RATE - bar.n)
        return Transcript(tuple(sorted(segments, key=lambda segment: segment.start)), language, tuple(dropped))

    def _piece(self, piece: np.ndarray, language: str | None) -> dict:
        """The segments and the language of one piece, from the cache where it is known."""
        identity = {**self.made_by, "language": language, "audio": hashlib.blake2b(piece.tobytes(), digest_size=16).hexdigest()}
        key = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=16).hexdigest()
        path = self.cache / key[:2] / f"{key}.json"
        known = _recall(path)
        if known is None:
            known = self._hear(piece, language)
            write_json(path, known)
        return known

    def _hear(self, piece: np.ndarray, language: str | None) -> dict:
        import ctranslate2

        if self.weights is None:
            self.weights = self._load()
        ctranslate2.set_random_seed(SEED)
        segments, info = self.weights.transcribe(
            to_float(piece),
            language=language,
            beam_size=int(self.config.beam_size),
            word_timestamps=self.config.words,
            vad_filter=True,
            vad_parameters={"min_silence_duration_ms": 500, "speech_pad_ms": 200},
            # A sentence invented once would otherwise be the prompt of what follows.
            condition_on_previous_text=False,
        )
        rows = [
            {
                "start": float(segment.start),
                "end": float(segment.end),
                "text": segment.text.strip(),
                "words": [{"start": float(word.start), "end": float(word.end), "word": word.word} for word in segment.words or ()],
            }
            for segment in segments
        ]
        return {"language": info.language, "segments": rows}

    def _load(self):
        from faster_whisper import WhisperModel

        try:
            return WhisperModel(str(self.folder), compute_type=self.config.compute_type)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"speech to text: {self.folder} can't be opened ({str(error).splitlines()[0]}). "
                "A model converted for CTranslate2 is needed, and for float16 a GPU."
            ) from None


def drop_invented(
    segments: Sequence[Segment], samples: np.ndarray, spans: Sequence[tuple[int, int]]
) -> tuple[list[Segment], list[Dropped]]:
    """Part segments into those that stand on speech and those that don't.

    samples: int16 (T,) of the whole recording. spans: where there is speech, in samples.
    """
    kept, dropped = [], []
    starts, ends = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    for segment in segments:
        start, end = (min(max(0, round(time * SAMPLE_RATE)), len(samples)) for time in (segment.start, segment.end))
        speech = int(np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None).sum())
        if not segment.text:
            reason = "no text"
        elif speech < LEAST_SPEECH * max(end - start, 1):
            reason = "no speech there"
        elif levels(np.asarray(samples[start:end]))[0] < SILENCE_DB:
            reason = "silence"
        else:
            kept.append(segment)
            continue
        dropped.append(Dropped(segment.start, segment.end, segment.text, reason))
    return kept, dropped


def _pieces(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Neighbouring spans joined to pieces of at most PIECE_SECONDS (a single span may be that long)."""
    piece = None
    for start, end in spans:
        if piece is not None and end - piece[0] > PIECE_SECONDS * SAMPLE_RATE:
            yield piece
            piece = None
        piece = (start if piece is None else piece[0], end)
    if piece is not None:
        yield piece


def _segment(row: dict, offset: float, length: float) -> Segment:
    """A segment of the recording from one of a piece; Whisper's last end may lie beyond the audio."""
    words = (Word(word["start"] + offset, word["end"] + offset, word["word"].strip()) for word in row["words"])
    end = min(row["end"] + offset, length)
    return Segment(min(row["start"] + offset, end), end, row["text"], tuple(word for word in words if word.end <= length))


def _recall(path: Path) -> dict | None:
    """A transcript of the cache; a damaged one is none."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        [_segment(row, 0.0, 1.0) for row in known["segments"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return known if isinstance(known.get("language"), str | None) else None
