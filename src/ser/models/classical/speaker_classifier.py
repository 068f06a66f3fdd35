"""From matrices of features to scores per label: speakers taken out, blocks weighed equally, a classifier on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

from ser.config import ClassicalConfig
from ser.features.speakers import (
    POOLED,
    SpeakerNormalizer,
    SpeakerSpace,
    cluster_voices,
    find_speakers,
    held_out_distance,
    nearest_speakers,
    take_out_emotion,
)
from ser.features.speakers.finding import as_integers
from ser.models.classical.classifiers import classifier_scores, fit_classifier
from ser.runtime.errors import UserError

EMBEDDING_SCALE = 1.7
"""Embeddings have length 1 and a total variance of 0.35; this makes it 1, as that of a block of features."""


@dataclass(frozen=True)
class FeatureMatrices:
    """Blocks of features [(n, D1), (n, D2), ...] of n clips, and what their voices are like (n, E) where that is asked for."""

    blocks: Sequence[np.ndarray]
    voices: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> FeatureMatrices:
        """Those of some of the clips."""
        return FeatureMatrices([block[rows] for block in self.blocks], None if self.voices is None else self.voices[rows])


@dataclass(frozen=True)
class SpeakerClassifier:
    """A fitted chain for blocks of features of the same clips."""

    normalizers: list[SpeakerNormalizer]
    space: SpeakerSpace | None
    """Where speakers are found; None unless they are to be found."""
    speakers: tuple[str, ...]
    """Names of the known speakers, or numbers of the voices found in the training clips; () where they don't matter."""
    classifier: BaseEstimator
    label_count: int
    plain: BaseEstimator | None = None
    """Of features that know no speaker: for clips of no voice, where voices are found in the training clips only."""
    near: float | None = None
    """Farther from every training voice (squared, in the space), a clip has none of them; None where it has a voice anyway."""

    @classmethod
    def fit(
        cls,
        config: ClassicalConfig,
        clips: FeatureMatrices,
        labels: np.ndarray,
        label_count: int,
        speakers: Sequence[str | None] | None,
    ) -> tuple[SpeakerClassifier, np.ndarray]:
        """labels: (n,) integers; speakers: n names or None each.

        Returns the chain and the scores (n, label_count) of the clips it was fitted to. Raises UserError where neither the speakers nor
        the voices are known that `speaker_normalization` needs.
        """
        standards = [SpeakerNormalizer.fit(block, np.full(len(labels), POOLED))[0] for block in clips.blocks]
        points = _points(standards, clips)
        known, names = _training_voices(config, clips, points, labels, speakers)
        fitted = [SpeakerNormalizer.fit(block, known) for block in clips.blocks]
        features = _side_by_side([normalised for _, normalised in fitted])
        classifier = fit_classifier(config, features, labels, label_count, len(clips.blocks))
        space = near = plain = None
        if config.speaker_normalization in ("found", "found_in_training"):
            space = SpeakerSpace.fit(points, known)
        if config.speaker_normalization == "found_in_training":
            near = held_out_distance(points, known)
            alone = _side_by_side([standard.plain(block) for standard, block in zip(standards, clips.blocks, strict=True)])
            plain = fit_classifier(config, alone, labels, label_count, len(clips.blocks))
        chain = cls([normalizer for normalizer, _ in fitted], space, names, classifier, label_count, plain, near)
        return chain, classifier_scores(classifier, features, label_count)

    def voices(self, clips: FeatureMatrices, speakers: Sequence[str | None] | None) -> np.ndarray:
        """The speaker of each clip (n,): found among these clips, or by the names given (None: not known), or POOLED for all."""
        if self.space is not None:
            points = self.space.project(_points(self.normalizers, clips))
            if self.near is not None:
                return nearest_speakers(points, self.space.means, self.near)
            return find_speakers(points, self.space.means, self.space.counts)
        if not self.speakers or speakers is None:
            return np.full(len(clips.blocks[0]), POOLED)
        number = {None: POOLED} | {name: k for k, name in enumerate(self.speakers)}
        return np.array([number.setdefault(name, len(number) - 1) for name in speakers])

    def scores(self, clips: FeatureMatrices, voices: np.ndarray) -> np.ndarray:
        """(n, label_count): the higher the likelier."""
        relative = [n.normalize(block, voices, join=self.near is None) for n, block in zip(self.normalizers, clips.blocks, strict=True)]
        scores = classifier_scores(self.classifier, _side_by_side(relative), self.label_count)
        if self.plain is not None and (alone := voices == POOLED).any():
            features = [n.plain(block[alone]) for n, block in zip(self.normalizers, clips.blocks, strict=True)]
            scores[alone] = classifier_scores(self.plain, _side_by_side(features), self.label_count)
        return scores


def check_voices(config: ClassicalConfig, speakers: Sequence[str | None] | None) -> None:
    """Raises UserError where speakers of the training clips, or embeddings of their voices, are needed and aren't there."""
    wanted, embedded = config.speaker_normalization, config.voices == "ge2e"
    if wanted == "none" or (wanted != "known" and embedded) or (wanted != "found_in_training" and _named(speakers)):
        return
    names = "the speakers of the training clips: give a CSV `id,speaker` with --data.speakers"
    embeddings = "embeddings of voices: add --model.classical.voices ge2e (requirements-speakers.txt)"
    needs = {"known": names, "found": f"{names}, or {embeddings}", "found_in_training": embeddings}[wanted]
    raise UserError(f"model.classical.speaker_normalization {wanted} needs {needs}; or set it to none.")


def _named(speakers: Sequence[str | None] | None) -> bool:
    return speakers is not None and all(name is not None for name in speakers)


def _training_voices(
    config: ClassicalConfig, clips: FeatureMatrices, points: np.ndarray, labels: np.ndarray, speakers: Sequence[str | None] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The speaker of each training clip as an integer (n,), and their names: given, or found where none are given or wanted."""
    wanted = config.speaker_normalization
    if wanted == "none":
        return np.full(len(labels), POOLED), ()
    if wanted != "found_in_training" and _named(speakers):
        return as_integers(speakers)
    voices = cluster_voices(take_out_emotion(clips.voices, labels), take_out_emotion(points, labels))
    return voices, tuple(f"voice {number}" for number in range(voices.max() + 1))


def _points(normalizers: Sequence[SpeakerNormalizer], clips: FeatureMatrices) -> np.ndarray:
    """What voices are told apart by: all features, standardised whoever speaks, and the voices' embeddings where there are any."""
    blocks = [normalizer.standardize(block) for normalizer, block in zip(normalizers, clips.blocks, strict=True)]
    points = _side_by_side(blocks)
    return points if clips.voices is None else np.hstack([points, EMBEDDING_SCALE * clips.voices])


def _side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks of standardised columns as one matrix in which each block weighs the same, however many columns it has."""
    return np.hstack([block / np.sqrt(block.shape[1]) for block in blocks]).astype(np.float32)
