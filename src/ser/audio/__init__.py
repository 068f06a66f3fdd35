"""Audio files: decoding to 16 kHz mono with a status per file."""

from ser.audio.decoding import decode
from ser.audio.pool import decode_all
from ser.audio.recording import SAMPLE_RATE, to_float
from ser.audio.status import STATUSES, UNUSABLE, Clip

__all__ = ["SAMPLE_RATE", "STATUSES", "UNUSABLE", "Clip", "decode", "decode_all", "to_float"]
