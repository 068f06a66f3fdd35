"""Audio files: decoding to 16 kHz mono with a status per file."""

from ser.audio.decoding import STATUSES, UNUSABLE, Clip, decode
from ser.audio.pool import decode_all
from ser.audio.recording import SAMPLE_RATE, to_float

__all__ = ["SAMPLE_RATE", "STATUSES", "UNUSABLE", "Clip", "decode", "decode_all", "to_float"]
