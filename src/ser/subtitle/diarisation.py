"""Who speaks, where no transcript says it: segments of a film clustered by their voices (diarisation of known stretches of speech).

What a voice is like is told by GE2E speaker embeddings where they are installed (requirements-speakers.txt), else by its mean spectrum over
voiced frames, how that moves, and its pitch. Emotions change a voice too, so the names are a proposal to correct, not a finding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

import numpy as np

from ser.audio import SAMPLE_RATE, to_float
from ser.config import SubtitlesConfig
from ser.runtime.progress import ProgressBar
from ser.subtitle.film import Film
from ser.transcripts import Segment

LEAST_SECONDS = 1.0  # shorter speech tells too little of a voice: it goes to the nearest
HEARD_SECONDS = 10.0  # of a segment
MOST = 4000  # segments that are clustered, the longest; the others go to the nearest
APART, APART_GE2E = 11.0, 1.0  # Ward distance from which two voices count as two
NAMES = {"en": "Speaker", "ko": "화자"}


def with_speakers(segments: Sequence[Segment], film: Film, count: int | Literal["auto"], config: SubtitlesConfig) -> tuple[Segment, ...]:
    """The segments, those without a speaker named by their voices: Speaker 1, 2 … in the order in which they first speak.

    count: how many speakers there are, or auto. A segment without 0.1 s of sound keeps none.
    """
    unknown = [place for place, segment in enumerate(segments) if segment.speaker is None]
    embed = ge2e_voice if find_spec("resemblyzer") else own_voice
    voices, heard = [], []
    for place in ProgressBar(unknown, "voices", unit="segment"):
        start = round(segments[place].start * SAMPLE_RATE)
        end = min(round(segments[place].end * SAMPLE_RATE), start + round(HEARD_SECONDS * SAMPLE_RATE), film.frames)
        if end - start >= SAMPLE_RATE // 10:
            voices.append(embed(to_float(film.read(start, end))))
            heard.append(place)
    if not heard:
        return tuple(segments)
    seconds = np.array([segments[place].end - segments[place].start for place in heard])
    found = np.array(voices)
    if embed is own_voice:  # of many units: each counts by how much it varies in the film
        found = (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)
    numbers = cluster(found, seconds, count, APART if embed is own_voice else APART_GE2E)
    order = {number: rank for rank, number in enumerate(dict.fromkeys(numbers.tolist()), 1)}
    name_of = {place: f"{NAMES[config.names]} {order[number]}" for place, number in zip(heard, numbers.tolist(), strict=True)}
    return tuple(dataclasses.replace(part, speaker=name_of.get(place, part.speaker)) for place, part in enumerate(segments))


def ge2e_voice(wave: np.ndarray) -> np.ndarray:
    """The GE2E embedding of a wave (T,), float32 at 16 kHz: (256,) of length 1."""
    from ser.features.speakers.ge2e import extract

    return extract(wave)["ge2e"]


def own_voice(wave: np.ndarray) -> np.ndarray:
    """Spectrum and pitch of a wave (T,), float32 at 16 kHz: (features,)."""
    from ser.features.descriptors import describe
    from ser.features.trim import trim

    frames = describe(trim(wave))
    voiced = frames.voiced if frames.voiced.sum() > 5 else np.ones(len(frames), bool)
    pitch = frames.scalars[voiced, 0]
    pitch = np.median(pitch[~np.isnan(pitch)]) if not np.isnan(pitch).all() else 7.0
    return np.concatenate([frames.mfcc[voiced].mean(axis=0), frames.mfcc[voiced].std(axis=0), [pitch]])


def cluster(voices: np.ndarray, seconds: np.ndarray, count: int | Literal["auto"], apart: float) -> np.ndarray:
    """The number of the speaker of each segment (n,), by Ward's clustering (1963) of voices (n, features)."""
    from sklearn.cluster import AgglomerativeClustering

    longest = np.argsort(-seconds, kind="stable")[:MOST]
    taken = np.sort(longest[seconds[longest] >= LEAST_SECONDS] if (seconds >= LEAST_SECONDS).sum() >= 2 else longest)
    if len(taken) < 2:
        return np.zeros(len(voices), np.int64)
    limit = {"n_clusters": None, "distance_threshold": apart} if count == "auto" else {"n_clusters": min(int(count), len(taken))}
    found = AgglomerativeClustering(**limit, linkage="ward").fit_predict(voices[taken])
    centers = np.array([voices[taken][found == number].mean(axis=0) for number in range(found.max() + 1)])
    numbers = np.square(voices[:, None] - centers).sum(axis=2).argmin(axis=1)
    numbers[taken] = found
    return numbers
