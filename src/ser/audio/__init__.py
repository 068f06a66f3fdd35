"""Audio files: decoding to 16 kHz mono with a status per file."""

from ser.audio.decoding import SAMPLE_RATE, STATUSES, UNUSABLE, Clip, decode, to_float
from ser.audio.pool import decode_all

__all__ = ["SAMPLE_RATE", "STATUSES", "UNUSABLE", "Clip", "decode", "decode_all", "to_float"]
