"""Whose voice it is, without asking: finding speakers by clustering, and taking a speaker's own way of speaking out of the features."""

from ser.features.speakers.clustering import cluster_voices, take_out_emotion
from ser.features.speakers.finding import SpeakerSpace, find_speakers, held_out_distance, nearest_speakers
from ser.features.speakers.normalization import POOLED, SpeakerNormalizer

__all__ = [
    "POOLED",
    "SpeakerNormalizer",
    "SpeakerSpace",
    "cluster_voices",
    "find_speakers",
    "held_out_distance",
    "nearest_speakers",
    "take_out_emotion",
]
