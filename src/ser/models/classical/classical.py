"""Features of whole clips and a scikit-learn classifier: fitted in one go, without epochs and without a GPU.

The model's folder holds `ser_model.json` (settings), `arrays.safetensors` (template, statistics, speaker space) and `classifier.skops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ser.config import ClassicalConfig, ModelConfig, as_plain
from ser.data.inputs import Store
from ser.features.speakers import SpeakerNormalizer, SpeakerSpace
from ser.features.speakers.finding import as_integers
from ser.models.base import CARD, FittedModel, card_of
from ser.models.classical.classifiers import fit_sharpness, softmax
from ser.models.classical.clip_features import ClipFeatures
from ser.models.classical.speaker_classifier import FeatureMatrices, SpeakerClassifier, check_voices
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, write_json
from ser.runtime.progress import say

if TYPE_CHECKING:
    from ser.models.encoder.statistics import EncoderStatistics

INNER_FOLDS = 3

TRANSDUCTIVE = (
    "Speakers were found by clustering the voices of the training clips and of the clips predicted together (validation or test), without "
    "their labels: transductive. An answer depends on which other clips are given with it, and the emotions of a new voice should be mixed."
)
IN_TRAINING = (
    "Voices were found in the training clips, without names, and each new clip was taken for the nearest of them, or for none: nothing of "
    "the clips predicted together was used."
)
SAME_TEXT = "Features `aligned` assume that all clips say nearly the same text."


class ClassicalModel(FittedModel):
    """Clips to probabilities. `fit` once; afterwards it only reads."""

    kind = "classical"

    def __init__(self, config: ClassicalConfig, label_names: Sequence[str], max_seconds: float, encoder: EncoderStatistics | None = None):
        """encoder: for the feature set `encoder`."""
        self.config, self.label_names, self.max_seconds = config, tuple(label_names), float(max_seconds)
        self.features = ClipFeatures(config, encoder)
        self.chain: SpeakerClassifier | None = None
        self.sharpness = 1.0
        self.told: dict[str, str] = {}

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
        """See `FittedModel.fit`. Raises UserError where speakers are needed and unknown, or a feature set's package isn't installed."""
        speakers = _speakers(store, rows)
        check_voices(self.config, speakers)  # before the features are computed
        clips = self.features.read(store, rows, learn=True, after_file=after_file)
        self.sharpness = self._choose_sharpness(clips, labels, speakers, store.groups(rows, INNER_FOLDS), seed)
        self.chain, scores = SpeakerClassifier.fit(self.config, clips, labels, len(self.label_names), speakers)
        return softmax(scores, self.sharpness)

    def predict(
        self, store: Store, rows: np.ndarray, title: str | None = None, after_file: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """See `FittedModel.predict`. title: where given, the voices found are told."""
        if not len(rows):
            return np.zeros((0, len(self.label_names)))
        clips, speakers = self.features.read(store, rows, after_file=after_file), _speakers(store, rows)
        voices = self.chain.voices(clips, speakers)
        if title is not None and self.chain.space is not None:
            self.told[title] = describe_voices(voices, len(self.chain.speakers), speakers)
            say(f"{title}: {self.told[title]}")
        return softmax(self.chain.scores(clips, voices), self.sharpness)

    @property
    def caveats(self) -> list[str]:
        """What has to be said beside any score of this model."""
        said = {"found": [TRANSDUCTIVE], "found_in_training": [IN_TRAINING]}.get(self.config.speaker_normalization, [])
        return said + [SAME_TEXT] * ("aligned" in self.config.features)

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
                "near": self.chain.near,
                "feature_versions": self.features.versions(),
                "caveats": self.caveats,
            }
            write_json(temporary / CARD, card)
            save_file(self._tensors(), temporary / "arrays.safetensors")
            dump(self.chain.classifier, temporary / "classifier.skops")
            if self.chain.plain is not None:
                dump(self.chain.plain, temporary / "plain.skops")
            if self.features.encoder is not None:
                self.features.encoder.save(temporary)

    def _choose_sharpness(
        self, clips: FeatureMatrices, labels: np.ndarray, speakers: Sequence[str] | None, groups: Sequence[str] | None, seed: int
    ) -> float:
        """By cross-validation within the training part, on voices left out where speakers are known, so that it isn't too sure."""
        if min(np.bincount(labels)[np.unique(labels)]) < INNER_FOLDS:
            return 1.0
        splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(INNER_FOLDS, shuffle=True, random_state=seed)
        groups = None if groups is None else as_integers(groups)[0]
        scores = np.zeros((len(labels), len(self.label_names)))
        for train, held_out in splitter.split(labels, labels, groups):
            seen, unseen = clips.take(train), clips.take(held_out)
            seen_names, unseen_names = (None if speakers is None else [speakers[row] for row in part] for part in (train, held_out))
            chain, _ = SpeakerClassifier.fit(self.config, seen, labels[train], len(self.label_names), seen_names)
            scores[held_out] = chain.scores(unseen, chain.voices(unseen, unseen_names))
        return fit_sharpness(scores, labels)

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {} if self.features.template is None else {"template": self.features.template}
        for name, normalizer in zip(self.config.features, self.chain.normalizers, strict=True):
            tensors |= {f"normalizer.{name}.{key}": value for key, value in normalizer.tensors().items()}
        if self.chain.space is not None:
            tensors |= {f"space.{part.name}": getattr(self.chain.space, part.name) for part in dataclasses.fields(SpeakerSpace)}
        return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def _speakers(store: Store, rows: np.ndarray) -> list[str | None] | None:
    return None if store.speakers is None else [store.speakers[row] for row in rows]


def describe_voices(voices: np.ndarray, known: int, speakers: Sequence[str | None] | None) -> str:
    """e.g. `186 of 352 clips given to 20 of 20 known voices, 166 to 5 new voices`, and how right that is where the truth is known."""
    from sklearn.metrics import adjusted_rand_score

    of_known, of_none = (voices >= 0) & (voices < known), voices < 0
    told = f"{of_known.sum()} of {len(voices)} clips given to {len(set(voices[of_known].tolist()))} of {known} known voices, "
    new = len(set(voices[voices >= known].tolist()))
    told += f"{of_none.sum()} to none" if of_none.any() else f"{(voices >= known).sum()} to {new} new voices"
    if speakers is not None and all(name is not None for name in speakers):
        told += f"; adjusted Rand index {adjusted_rand_score(speakers, voices):.2f}"
    return f"{told} (found without labels)"


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> ClassicalModel:
    """A model to fit."""
    encoder = None
    if "encoder" in config.classical.features:
        from ser.models.encoder.statistics import EncoderStatistics

        encoder = EncoderStatistics.open(config, label_names, max_seconds)
    return ClassicalModel(config.classical, label_names, max_seconds, encoder)


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
        near = card.get("near")
        plain = None if near is None else load_skops(folder / "plain.skops", trusted=[])
    except Exception as error:  # a damaged file fails in many ways; nothing but data is read
        raise UserError(f"{folder}: not a whole model ({type(error).__name__}: {error}). Copy the folder again.") from None
    model.features.check_versions(folder, versions)
    if "encoder" in model.config.features:
        from ser.models.encoder.statistics import EncoderStatistics

        model.features.encoder = EncoderStatistics.load(folder, model.config.encoder_layers)
    model.features.template = tensors.get("template")
    normalizers = [SpeakerNormalizer(**_below(tensors, f"normalizer.{name}.")) for name in model.config.features]
    space = SpeakerSpace(**_below(tensors, "space.")) if "space.center" in tensors else None
    model.chain = SpeakerClassifier(normalizers, space, speakers, classifier, len(model.label_names), plain, near)
    return model


def _below(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
