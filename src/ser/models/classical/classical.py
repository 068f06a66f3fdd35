"""Features of whole clips and a scikit-learn classifier: fitted in one go, without epochs and without a GPU.

The model's folder holds `ser_model.json` (settings), `arrays.safetensors` (template, statistics, speaker space) and `classifier.skops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ser.config import ClassicalConfig, ModelConfig, as_plain
from ser.data.inputs import Store
from ser.features import SOURCES, load_features
from ser.features.alignment import aligned_features, learn_template
from ser.features.speakers import SpeakerNormalizer, SpeakerSpace
from ser.features.speakers.finding import as_integers
from ser.models.base import CARD, FittedModel, card_of
from ser.models.classical.classifiers import fit_sharpness, softmax
from ser.models.classical.speaker_classifier import SpeakerClassifier
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, write_json
from ser.runtime.progress import say

SOURCE_OF = {"functionals": "voice", "aligned": "voice", "librosa": "librosa", "egemaps": "egemaps", "compare": "compare"}
INNER_FOLDS = 3

TRANSDUCTIVE = (
    "Speakers were found by clustering the voices of the training clips and of the clips predicted together (validation or test), without "
    "their labels: transductive. An answer depends on which other clips are given with it, and the emotions of a new voice should be mixed."
)
SAME_TEXT = "Features `aligned` assume that all clips say nearly the same text."


class ClassicalModel(FittedModel):
    """Clips to probabilities. `fit` once; afterwards it only reads."""

    kind = "classical"

    def __init__(self, config: ClassicalConfig, label_names: Sequence[str], max_seconds: float):
        self.config, self.label_names, self.max_seconds = config, tuple(label_names), float(max_seconds)
        self.template: np.ndarray | None = None
        self.chain: SpeakerClassifier | None = None
        self.sharpness = 1.0

    @property
    def uses_voices(self) -> bool:
        """Whether speakers are told, not found."""
        return self.config.speaker_normalization == "known"

    @property
    def compares_clips(self) -> bool:
        """Whether speakers are found among the clips that are given together."""
        return self.config.speaker_normalization == "found"

    def fit(
        self, store: Store, rows: np.ndarray, labels: np.ndarray, seed: int, after_file: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """See `FittedModel.fit`. Raises UserError where speakers are needed and unknown, or openSMILE isn't installed."""
        features, speakers = self._features(store, rows, after_file), _speakers(store, rows)
        if "aligned" in self.config.features:
            self.template = learn_template(features["timbre"])
        blocks = self._blocks(features)
        self.sharpness = self._choose_sharpness(blocks, labels, speakers, seed)
        self.chain, scores = SpeakerClassifier.fit(self.config, blocks, labels, len(self.label_names), speakers)
        return softmax(scores, self.sharpness)

    def predict(
        self, store: Store, rows: np.ndarray, title: str | None = None, after_file: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """See `FittedModel.predict`. title: where given, the voices found are told."""
        if not len(rows):
            return np.zeros((0, len(self.label_names)))
        blocks = self._blocks(self._features(store, rows, after_file))
        voices = self.chain.voices(blocks, _speakers(store, rows))
        if title is not None and self.chain.space is not None:
            say(f"{title}: {describe_voices(voices, len(self.chain.speakers))}")
        return softmax(self.chain.scores(blocks, voices), self.sharpness)

    @property
    def caveats(self) -> list[str]:
        """What has to be said beside any score of this model."""
        found, aligned = self.config.speaker_normalization == "found", "aligned" in self.config.features
        return [TRANSDUCTIVE] * found + [SAME_TEXT] * aligned

    @property
    def parameter_count(self) -> int:
        """Numbers that the classifier learnt."""
        fitted = vars(self.chain.classifier)
        return sum(np.size(fitted[name]) for name in ("dual_coef_", "coef_", "intercept_") if name in fitted)

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, all of it or nothing."""
        from safetensors.numpy import save_file
        from skops.io import dump

        with atomic_folder(folder) as temporary:
            card = card_of(self) | {
                "settings": as_plain(self.config),
                "sharpness": self.sharpness,
                "speakers": self.chain.speakers,
                "feature_versions": {source: SOURCES[source].version for source in self._sources()},
                "caveats": self.caveats,
            }
            write_json(temporary / CARD, card)
            save_file(self._tensors(), temporary / "arrays.safetensors")
            dump(self.chain.classifier, temporary / "classifier.skops")

    def _sources(self) -> list[str]:
        return list(dict.fromkeys(SOURCE_OF[name] for name in self.config.features))

    def _features(self, store: Store, rows: np.ndarray, after_file: Callable[[], None]) -> dict[str, list[np.ndarray]]:
        features: dict[str, list[np.ndarray]] = {}
        for source in self._sources():
            features |= load_features(store.clips, rows, source, after_file)
        return features

    def _blocks(self, features: dict[str, list[np.ndarray]]) -> list[np.ndarray]:
        """A matrix (n, columns) per feature set of the config, in its order."""
        return [np.array(self._aligned(features) if name == "aligned" else features[name], np.float32) for name in self.config.features]

    def _aligned(self, features: dict[str, list[np.ndarray]]) -> list[np.ndarray]:
        clips = zip(features["timbre"], features["contents"], strict=True)
        return [aligned_features(timbre, contents, self.template) for timbre, contents in clips]

    def _choose_sharpness(self, blocks: list[np.ndarray], labels: np.ndarray, speakers: Sequence[str] | None, seed: int) -> float:
        """By cross-validation within the training part, on voices left out where speakers are known, so that it isn't too sure."""
        if min(np.bincount(labels)[np.unique(labels)]) < INNER_FOLDS:
            return 1.0
        grouped = speakers is not None and len(set(speakers)) >= INNER_FOLDS
        splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(INNER_FOLDS, shuffle=True, random_state=seed)
        groups = as_integers(speakers)[0] if grouped else None
        scores = np.zeros((len(labels), len(self.label_names)))
        for train, held_out in splitter.split(labels, labels, groups):
            seen, unseen = ([block[part] for block in blocks] for part in (train, held_out))
            seen_names, unseen_names = (None if speakers is None else [speakers[row] for row in part] for part in (train, held_out))
            chain, _ = SpeakerClassifier.fit(self.config, seen, labels[train], len(self.label_names), seen_names)
            scores[held_out] = chain.scores(unseen, chain.voices(unseen, unseen_names))
        return fit_sharpness(scores, labels)

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {} if self.template is None else {"template": self.template}
        for name, normalizer in zip(self.config.features, self.chain.normalizers, strict=True):
            tensors |= {f"normalizer.{name}.{key}": value for key, value in normalizer.tensors().items()}
        if self.chain.space is not None:
            tensors |= {f"space.{part.name}": getattr(self.chain.space, part.name) for part in dataclasses.fields(SpeakerSpace)}
        return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def _speakers(store: Store, rows: np.ndarray) -> list[str | None] | None:
    return None if store.speakers is None else [store.speakers[row] for row in rows]


def describe_voices(voices: np.ndarray, known: int) -> str:
    """e.g. `186 of 352 clips given to 20 of 20 known speakers, 166 to 5 new voices`."""
    of_known = voices < known
    return (
        f"{of_known.sum()} of {len(voices)} clips given to {len(set(voices[of_known].tolist()))} of {known} known speakers, "
        f"{(~of_known).sum()} to {len(set(voices[~of_known].tolist()))} new voices (clustered without labels)"
    )


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> ClassicalModel:
    """A model to fit."""
    return ClassicalModel(config.classical, label_names, max_seconds)


def load(folder: Path, card: dict) -> ClassicalModel:
    """Open a model written by `ClassicalModel.save`. Raises UserError when files are missing or damaged, or of other features."""
    from safetensors.numpy import load_file
    from skops.io import load as load_skops

    try:
        model = ClassicalModel(ClassicalConfig(**card["settings"]), card["label_names"], card["max_seconds"])
        model.sharpness = float(card["sharpness"])
        versions, speakers = card["feature_versions"], tuple(card["speakers"])
        tensors = load_file(folder / "arrays.safetensors")
        classifier = load_skops(folder / "classifier.skops", trusted=[])
    except Exception as error:  # a damaged file fails in many ways; nothing but data is read
        raise UserError(f"{folder}: not a whole model ({type(error).__name__}: {error}). Copy the folder again.") from None
    for source, version in versions.items():
        if SOURCES[source].version != version:
            raise UserError(
                f"{folder} was fitted to {source} features of version {version}; this program computes version {SOURCES[source].version}. "
                "Train it again, or use the program that made it."
            )
    model.template = tensors.get("template")
    normalizers = [SpeakerNormalizer(**_below(tensors, f"normalizer.{name}.")) for name in model.config.features]
    space = SpeakerSpace(**_below(tensors, "space.")) if "space.center" in tensors else None
    model.chain = SpeakerClassifier(normalizers, space, speakers, classifier, len(model.label_names))
    return model


def _below(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
