"""From matrices of features to scores per label: speakers taken out, blocks weighed equally, a classifier on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

from ser.config import ClassicalConfig
from ser.features.speakers import POOLED, SpeakerNormalizer, SpeakerSpace, find_speakers
from ser.features.speakers.finding import as_integers
from ser.models.classical.classifiers import classifier_scores, fit_classifier
from ser.runtime.errors import UserError


@dataclass(frozen=True)
class SpeakerClassifier:
    """A fitted chain for blocks of features [(n, D1), (n, D2), ...] of the same clips."""

    normalizers: list[SpeakerNormalizer]
    space: SpeakerSpace | None
    """Where speakers are found; None unless they are to be found."""
    speakers: tuple[str, ...]
    """Names of the known speakers, () where they don't matter."""
    classifier: BaseEstimator
    label_count: int

    @classmethod
    def fit(
        cls,
        config: ClassicalConfig,
        blocks: Sequence[np.ndarray],
        labels: np.ndarray,
        label_count: int,
        speakers: Sequence[str | None] | None,
    ) -> tuple[SpeakerClassifier, np.ndarray]:
        """labels: (n,) integers; speakers: n names, needed unless `speaker_normalization` is none (UserError without them).

        Returns the chain and the scores (n, label_count) of the clips it was fitted to.
        """
        if config.speaker_normalization == "none":
            known, names = np.full(len(labels), POOLED), ()
        else:
            known, names = as_integers(_all_known(speakers, config))
        fitted = [SpeakerNormalizer.fit(block, known) for block in blocks]
        normalizers = [normalizer for normalizer, _ in fitted]
        space = None
        if config.speaker_normalization == "found":
            space = SpeakerSpace.fit(_side_by_side([n.standardize(block) for n, block in zip(normalizers, blocks, strict=True)]), known)
        features = _side_by_side([normalised for _, normalised in fitted])
        classifier = fit_classifier(config, features, labels, label_count, len(blocks))
        return cls(normalizers, space, names, classifier, label_count), classifier_scores(classifier, features, label_count)

    def voices(self, blocks: Sequence[np.ndarray], speakers: Sequence[str | None] | None) -> np.ndarray:
        """The speaker of each clip (n,): found among these clips, or by the names given (None: not known), or POOLED for all."""
        if self.space is not None:
            standard = _side_by_side([n.standardize(block) for n, block in zip(self.normalizers, blocks, strict=True)])
            return find_speakers(self.space.project(standard), self.space.means, self.space.counts)
        if not self.speakers or speakers is None:
            return np.full(len(blocks[0]), POOLED)
        number = {None: POOLED} | {name: k for k, name in enumerate(self.speakers)}
        return np.array([number.setdefault(name, len(number) - 1) for name in speakers])

    def scores(self, blocks: Sequence[np.ndarray], voices: np.ndarray) -> np.ndarray:
        """(n, label_count): the higher the likelier."""
        features = [n.normalize(block, voices) for n, block in zip(self.normalizers, blocks, strict=True)]
        return classifier_scores(self.classifier, _side_by_side(features), self.label_count)


def _side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks of standardised columns as one matrix in which each block weighs the same, however many columns it has."""
    return np.hstack([block / np.sqrt(block.shape[1]) for block in blocks]).astype(np.float32)


def _all_known(speakers: Sequence[str | None] | None, config: ClassicalConfig) -> Sequence[str]:
    if speakers is None or any(name is None for name in speakers):
        raise UserError(
            f"model.classical.speaker_normalization {config.speaker_normalization} needs the speakers of the training clips. Give a CSV "
            "`id,speaker` with --data.speakers, or set it to none."
        )
    return speakers
