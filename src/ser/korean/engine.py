"""Predicting files, texts, many files, folders and long recordings with a trained model that stays in memory, and how
much of a clip is heard."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.audio.pool import Decoders
from ser.audio.stream import AudioStream, checked_blocks
from ser.config import DataConfig
from ser.data.inputs import Input
from ser.data.labels import display_korean
from ser.data.tables import read_paths
from ser.data.text_input import tidy
from ser.data.utterance import EMPTY
from ser.inference.prediction import Predictor
from ser.korean.dataset import as_list
from ser.korean.predictions import Prediction, check_output, write_predictions
from ser.runtime.errors import UserError
from ser.runtime.progress import ProgressBar
from ser.timeline.windows import Timeline, checked_window, cut_windows, predict_timeline, predict_windows

log = logging.getLogger(__name__)

CLIPS_AT_ONCE = 256  # decoded and in memory together: sorted by length among each other, at most 123 MB of 15 s clips


class InferenceEngine:
    """A trained run (mean of its folds), one fold, a model folder or a hub name, loaded once. Several threads may ask it at once.

    The model answers one after the other; files are decoded beside it, in processes of their own that stay for the next file.

    Folds stay in memory together: five folds of a large model take 6.3 GB; open one fold where that is too much.
    """

    def __init__(self, model: str | Path, batch_size: int = 16, precision: str = "auto") -> None:
        self.predictor = Predictor(model, batch_size, precision)
        self.decoders = Decoders()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The model's labels in its order."""
        return self.predictor.label_names

    @property
    def takes(self) -> Input:
        """What the model needs: audio, text, or audio and text."""
        return self.predictor.takes

    def predict_single(self, path: str | Path, speaker: str | None = None, text: str | None = None) -> Prediction:
        """Predict one file; a file that can't be used gets its status and no emotion.

        speaker: where known, for models that ask. text: what is said, for models of audio and text.
        """
        return next(self.stream([path], [speaker], None if text is None else [text]))

    def predict_texts(self, texts: str | Iterable[str]) -> list[Prediction]:
        """Predict texts with a model of texts; an empty one has the status empty_text.

        Raises UserError for a model that hears, and for what is no text.
        """
        texts = as_list(texts)
        if odd := [text for text in texts if not isinstance(text, str)]:
            raise UserError(f"{odd[0]!r} is no text; empty cells of a table are given as an empty one: table['text'].fillna('').")
        texts = list(map(tidy, texts))
        said = [text for text in texts if text]
        answers = iter(self.predictor.probabilities(texts=said))
        return [self._text_prediction(next(answers) if text else None) for text in texts]

    def predict_batch(
        self,
        paths: Iterable[str | Path],
        output: str | Path | None = None,
        speakers: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[Prediction]:
        """Predict files; one prediction each, in the order given.

        output: a .csv or .json to write them to. speakers, texts: one for each.
        """
        paths = as_list(paths)
        check_output(output)
        bar = ProgressBar(self.stream(paths, speakers, texts), "predicting", len(paths), unit="file")
        results = list(bar)
        if output is not None:
            write_predictions(results, output, self.label_names)
        return results

    def predict_directory(self, directory: str | Path, output: str | Path | None = None) -> list[Prediction]:
        """Predict all audio files below a folder, sorted by path. Raises UserError where there are none."""
        if not Path(directory).is_dir():
            raise UserError(f"{directory}: no such folder.")
        paths, _ = read_paths(Path(directory), DataConfig())
        return self.predict_batch(paths, output)

    def predict_samples(self, samples: Sequence[np.ndarray]) -> np.ndarray:
        """(n, labels) probabilities of n clips in memory: int16 (T,), 16 kHz, mono, at least 400 samples."""
        return self.predictor.probabilities(samples)

    def warmup(self) -> float:
        """Answer something made up, so that the first real answer isn't the slow one; returns the seconds it took.

        The process that decodes files is started too, and stays.
        """
        started = time.perf_counter()
        if self.takes == "text":
            self.predictor.probabilities(texts=["ok"])
        else:
            noise = np.random.default_rng(0).integers(-3000, 3000, SAMPLE_RATE, dtype=np.int16)
            self.predictor.probabilities([noise])
            self.decoders.start()
        return time.perf_counter() - started

    def close(self) -> None:
        """End the processes that decode files (the next file starts one again). They end with the engine too."""
        self.decoders.close()

    def predict_stream(
        self, source: str | Path | Iterable[np.ndarray], window: float | None = None, step: float | None = None
    ) -> Iterator[dict]:
        """The emotion of each window as soon as its last sample is there, while the rest is still being read or spoken.

        source: a file, or blocks of int16 samples at 16 kHz from a microphone. Yields the rows of `Timeline.windows` as dicts, with
        `latency`: seconds from the window's last sample to the answer. Raises UserError as `predict_timeline` does, and for blocks of
        another kind; a file that can't be read raises it too, one that ends early is told.
        """
        window, step = checked_window(self.predictor, window, step)
        file = AudioStream(source) if isinstance(source, (str, Path)) else None
        blocks = checked_blocks(source) if file is None else file
        for piece in cut_windows(blocks, window, step):
            complete = time.perf_counter()
            row = predict_windows(self.predictor, [piece])[0]
            yield row | {"latency": time.perf_counter() - complete}
        if file is not None:
            file.check_readable()
            if file.status != "ok":
                log.warning("%s: %s: %s", file.path, file.status, file.detail)

    def predict_timeline(self, path: str | Path, window: float | None = None, step: float | None = None) -> Timeline:
        """The emotions along a recording of any length; see `ser.timeline.windows.predict_timeline`."""
        return predict_timeline(self.predictor, path, window, step)

    def analyze_emotions_distribution(self, results: Sequence[Prediction]) -> dict:
        """Counts of what was predicted.

        emotion_counts and emotion_shares (of the files that have an emotion; every label of the model, in its order), total (files),
        unusable (how many of them have no emotion), statuses (how many of each), mean_confidence (None without any emotion).
        """
        known = [result for result in results if result["predicted_emotion"] is not None]
        counts = Counter(result["predicted_emotion"] for result in known)
        emotion_counts = {name: counts[name] for name in (*self.label_names, *sorted(counts.keys() - set(self.label_names)))}
        return {
            "emotion_counts": emotion_counts,
            "emotion_shares": {name: count / max(len(known), 1) for name, count in emotion_counts.items()},
            "total": len(results),
            "unusable": len(results) - len(known),
            "statuses": dict(Counter(result["status"] for result in results)),
            "mean_confidence": float(np.mean([result["confidence"] for result in known])) if known else None,
        }

    def stream(
        self, paths: Iterable[str | Path], speakers: Sequence[str | None] | None = None, texts: Sequence[str] | None = None
    ) -> Iterator[Prediction]:
        """Predictions one after another, in the order of the paths, as they become known; memory doesn't grow with their number."""
        paths = [Path(path) for path in as_list(paths)]
        for what, given in (("speaker (or None)", speakers), ('text (or "")', texts)):
            if given is not None and len(given) != len(paths):
                raise UserError(f"{len(paths)} paths and {len(given)} {what.split()[0]}s were given; one {what} per path is needed.")
        said = None if texts is None else list(map(tidy, texts))
        at_once = len(paths) if self.predictor.compares_clips else CLIPS_AT_ONCE
        for start in range(0, len(paths), max(at_once, 1)):
            part = paths[start : start + at_once]
            clips = list(self.decoders.decode_all(part, max_seconds=self.predictor.max_seconds))
            usable = [place for place, clip in enumerate(clips) if clip.usable]
            voices = None if speakers is None else [speakers[start + place] for place in usable]
            words = None if said is None else [said[start + place] for place in usable]
            samples = [clips[place].samples for place in usable]
            found = dict(zip(usable, self.predictor.probabilities(samples, voices, texts=words), strict=True))
            for place, (path, clip) in enumerate(zip(part, clips, strict=True)):
                if not clip.usable:
                    log.warning("%s can't be used: %s (%s)", path, clip.status, clip.detail)
                is_silent = self.takes != "audio" and place in found and not (said and said[start + place])
                status, detail = ("no_transcript", "predicted by its audio alone") if is_silent else (clip.status, clip.detail)
                yield self._prediction(str(path), status, detail, clip.seconds, found.get(place))

    def _text_prediction(self, probabilities: np.ndarray | None) -> Prediction:
        status, detail = (EMPTY, "no text") if probabilities is None else ("ok", "")
        return self._prediction("", status, detail, 0.0, probabilities)

    def _prediction(self, path: str, status: str, detail: str, seconds: float, probabilities: np.ndarray | None) -> Prediction:
        result = Prediction(
            file_path=path,
            predicted_emotion=None,
            predicted_emotion_ko=None,
            confidence=None,
            probabilities={},
            status=status,
            detail=detail,
            duration=seconds,
        )
        if probabilities is not None:
            name = self.label_names[int(probabilities.argmax())]
            result["predicted_emotion"], result["predicted_emotion_ko"] = name, display_korean(name)
            result["probabilities"] = dict(zip(self.label_names, probabilities.tolist(), strict=True))
            result["confidence"] = result["probabilities"][name]
        return result


def create_inference_engine(results_dir: str | Path, batch_size: int = 16, precision: str = "auto") -> InferenceEngine:
    """Open a run folder, fold folder, model folder or hub name for prediction. Raises UserError where there is no model in it.

    batch_size: clips in one forward pass. precision: auto, fp32, bf16 or fp16.
    """
    return InferenceEngine(results_dir, batch_size, precision)
