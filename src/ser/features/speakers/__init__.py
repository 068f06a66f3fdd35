"""Whose voice it is, without asking: finding speakers by clustering, and taking a speaker's own way of speaking out of the features."""

from ser.features.speakers.finding import SpeakerSpace, find_speakers
from ser.features.speakers.normalization import POOLED, SpeakerNormalizer

__all__ = ["POOLED", "SpeakerNormalizer", "SpeakerSpace", "find_speakers"]
