"""Speech to text by faster-whisper (SYSTRAN; Whisper: Radford et al. 2022).

Whisper invents sentences where nobody speaks (in Korean often 시청해주셔서 감사합니다), and its times run over pauses. So it hears only
what voice activity detection takes for speech (`listening`), what it invents all the same is dropped and told (`inventions`), and its
words are put where the speech is (`placing`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser.audio import SAMPLE_RATE, to_float
from ser.config import SpeechConfig
from ser.data.hashes import hash_files
from ser.runtime.errors import UserError
from ser.runtime.files import write_json
from ser.runtime.progress import ProgressBar
from ser.transcripts.inventions import drop_invented, without_loops
from ser.transcripts.listening import LONGEST, PAUSE, Listening, windows_of_speech
from ser.transcripts.placing import Heard, assign, letters_in, place_words
from ser.transcripts.segments import Dropped, Segment, Transcript, Word
from ser.transcripts.voice_activity import check_installed, speech_spans
from ser.transcripts.whisper_folder import whisper_folder

FORMAT = 2  # raise it when the same audio, model and options give other sentences
PARTED_BY = 0.2  # seconds without speech between two spans
SEED = 0  # for the random sampling that Whisper falls back to
UNSPACED = {"zh", "ja", "yue", "th", "lo", "my"}  # languages written without blanks between words
WORDLESS = 0.5  # seconds of speech without a word that are worth telling


class Transcriber:
    """One model and its options. The weights are loaded when the first piece of audio isn't in the cache.

    model: a faster-whisper model by folder, size or hub name.
    Raises UserError where faster-whisper isn't installed or the model can't be had.
    """

    def __init__(self, model: str, config: SpeechConfig) -> None:
        check_installed()
        import faster_whisper

        self.config = config
        self.folder = whisper_folder(model)
        self.cache = Path(config.cache) / "transcripts"
        self.weights = None
        self.aligner = _aligner(config)
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        contents = hash_files(files, config.cache, "the model")
        options = {key: value for key, value in dataclasses.asdict(config).items() if key not in ("cache", "align")}
        self.made_by = {
            "format": FORMAT,
            "backend": f"faster-whisper {faster_whisper.__version__}",
            "model": [[path.name, str(content)] for path, content in zip(files, contents, strict=True)],
            "options": {key: value if isinstance(value, bool) else str(value) for key, value in options.items()},
        }

    def transcribe(self, samples: np.ndarray, title: str | None = None) -> Transcript:
        """What is said in int16 samples (T,) at 16 kHz, which may be a memory map. title: shows a progress bar in seconds of audio."""
        spans = speech_spans(samples, LONGEST - PAUSE, PARTED_BY, 0.0)
        windows = windows_of_speech(spans, len(samples))
        language = None if self.config.language == "auto" else self.config.language
        told = []
        with ProgressBar(total=len(samples) // SAMPLE_RATE, unit="s", what=title, hidden=not title) as bar:
            for window in windows:
                heard = self._piece(window.read(samples), language)
                # The language of the first speech holds for the whole recording.
                language = language or heard["language"]
                told.append(heard["segments"])
                bar.update(window.spans[-1][1] // SAMPLE_RATE - bar.n)
        segments, dropped = [], []
        if self.aligner is not None:
            self.weights = None  # one network after the other
        for window, rows in zip(windows, told, strict=True):
            words, left_out = _believed(window, rows, samples, language in UNSPACED)
            words = words if self.aligner is None else _aligned(self.aligner, window, words, samples)
            placed = place_words(words, window.seconds)
            segments += placed if self.config.words else [dataclasses.replace(segment, words=()) for segment in placed]
            dropped += [*left_out, *_wordless(window, placed)]
        return Transcript(tuple(segments), language, tuple(dropped))

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
            # A sentence invented once would otherwise be the prompt of what follows.
            condition_on_previous_text=False,
        )
        rows = [
            {
                "start": float(segment.start),
                "end": float(segment.end),
                "text": segment.text.strip(),
                "sureness": float(segment.avg_logprob),
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


def _believed(window: Listening, rows: Sequence[dict], samples: np.ndarray, unspaced: bool) -> tuple[list[Heard], list[Dropped]]:
    """The words of a window in the recording's time, without what Whisper invented; and what that was."""
    segments = [_sentence(row, window) for row in rows]
    kept, dropped = drop_invented(segments, samples, window.spans, [row["sureness"] for row in rows])
    words = [Heard(word, place) for place in kept for word in _words(rows[place], window, unspaced)]
    stay = without_loops([heard.word.text for heard in words], assign(words, window.seconds))
    if len(stay) < len(words):
        again = [heard.word for place, heard in enumerate(words) if place not in set(stay)]
        text = " ".join(word.text for word in again)
        dropped.append(Dropped(again[0].start, again[-1].end, text, "the same words again and again"))
    return [words[place] for place in stay], dropped


def _aligner(config: SpeechConfig):
    if config.align is None:
        return None
    from ser.transcripts.alignment import Aligner  # torch and transformers, which speech to text alone doesn't need

    return Aligner(config.align, config.cache)


def _aligned(aligner, window: Listening, words: list[Heard], samples: np.ndarray) -> list[Heard]:
    """The words at the times of forced alignment; at those of speech to text where it finds none."""
    times = aligner.times(window.read(samples), [heard.word.text for heard in words]) if words else None
    if times is None:
        return words
    at = [(window.in_recording(start), window.in_recording(end)) for start, end in times]
    return [Heard(Word(start, max(start, end), heard.word.text), heard.group) for heard, (start, end) in zip(words, at, strict=True)]


def _sentence(row: dict, window: Listening) -> Segment:
    start = window.in_recording(row["start"])
    return Segment(start, max(start, window.in_recording(row["end"])), row["text"])


def _words(row: dict, window: Listening, unspaced: bool) -> list[Word]:
    """The words of a sentence with the times that Whisper gives them, or, where it gives none, by their letters."""
    told = [(word["word"], word["start"], word["end"]) for word in row["words"]] or _spread(row)
    joined: list[list] = []
    for text, start, end in told:
        if joined and not unspaced and not text.startswith(" "):
            joined[-1][0] += text  # a piece of the same word, e.g. 17 and 일
            joined[-1][2] = end
        else:
            joined.append([text, start, end])
    return [
        Word(window.in_recording(start), window.in_recording(max(start, end)), text.strip()) for text, start, end in joined if text.strip()
    ]


def _spread(row: dict) -> list[tuple[str, float, float]]:
    """The words of a sentence of which only the whole's time is known."""
    words = row["text"].split()
    edges = np.cumsum([0, *map(letters_in, words)])
    times = (row["start"] + (row["end"] - row["start"]) * edges / max(edges[-1], 1)).tolist()
    return [(f" {word}", start, end) for word, start, end in zip(words, times[:-1], times[1:], strict=True)]


def _wordless(window: Listening, segments: Sequence[Segment]) -> list[Dropped]:
    """Speech in which no word was understood."""
    empty = [(start, end) for start, end in window.seconds if not any(part.start < end and part.end > start for part in segments)]
    return [Dropped(start, end, "", "speech without words that were understood") for start, end in empty if end - start >= WORDLESS]


def _recall(path: Path) -> dict | None:
    """What is in the cache; a damaged file is none."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        whole = Listening(((0, 1),), ((0, 1),))
        for row in known["segments"]:
            _words(row, whole, False)
            float(row["sureness"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return known if isinstance(known.get("language"), str | None) else None
