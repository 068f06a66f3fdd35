"""Voices among training clips without any names: their embeddings in groups, each a speaker, or a speaker's way of speaking.

Emotion moves an embedding nearly as much as a change of speaker does. The labels of the training clips say how, and what their emotion
adds on average is taken out first. Labels of clips that are judged are never needed.
"""

from __future__ import annotations

import numpy as np

from ser.features.speakers.finding import HEIGHT, SpeakerSpace
from ser.runtime.errors import UserError

COMPONENTS = 40
CLIPS_OF_A_VOICE = (20, 80)
"""How many clips a voice may have on average; the number of groups in between is the one with the best silhouette."""
STEPS = 8
LEAST = 8
"""Smaller groups teach nothing about voices."""
ROUNDS = 2


def take_out_emotion(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The vectors (n, D) of labelled clips (n,), each less what its emotion adds on average."""
    center, without = vectors.mean(axis=0), vectors.copy()
    for label in np.unique(labels):
        without[labels == label] -= vectors[labels == label].mean(axis=0) - center
    return without


def cluster_voices(embeddings: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Groups (n,) numbered from 0, of embeddings (n, E) and further features (n, D) of the same clips, both without their emotion.

    Average linkage by cosine in the embeddings' main directions, half whitened; then, twice, the directions of all features that tell
    the groups apart (linear discriminant analysis) and Ward's clustering there, which merges what lies close.
    Raises UserError for so few clips that no two voices can be told.
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(embeddings) < 2 * CLIPS_OF_A_VOICE[0]:
        raise UserError(
            f"voices are to be found among {len(embeddings)} training clips; that takes {2 * CLIPS_OF_A_VOICE[0]} or more. "
            "Set model.classical.speaker_normalization none."
        )
    groups = _by_embedding(embeddings)
    for _ in range(ROUNDS):
        large = np.flatnonzero(np.bincount(groups) >= LEAST)
        if len(large) < 2:
            break
        of_large = np.isin(groups, large)
        space = SpeakerSpace.fit(points[of_large], np.searchsorted(large, groups[of_large]))
        groups = AgglomerativeClustering(None, distance_threshold=np.sqrt(2 * HEIGHT)).fit_predict(space.project(points))
    return groups


def _by_embedding(embeddings: np.ndarray) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    count = len(embeddings)
    reduced = PCA(min(COMPONENTS, count - 1, embeddings.shape[1]), random_state=0).fit_transform(embeddings)
    reduced /= np.sqrt(np.maximum(reduced.std(axis=0), 1e-9))
    most, fewest = (max(2, count // clips) for clips in CLIPS_OF_A_VOICE)
    tried = {}
    for voices in np.unique(np.geomspace(fewest, most, STEPS).round().astype(int)):
        groups = AgglomerativeClustering(voices, metric="cosine", linkage="average").fit_predict(reduced)
        tried[silhouette_score(reduced, groups, metric="cosine")] = groups
    return tried[max(tried)]
