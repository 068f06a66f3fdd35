"""Keys of speech to text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import PositiveInt


@dataclass
class SpeechConfig:
    """Speech to text by faster-whisper: how, not with which model."""

    language: Literal["auto", "ko", "en"] = "auto"
    """Spoken language. auto: Whisper decides once per recording, from its first speech."""
    beam_size: PositiveInt = 5
    """Candidates kept while decoding; 1 is greedy, faster and a little worse."""
    words: bool = True
    """Find when each word is spoken, so that subtitles end at pauses, karaoke fills, and long text is split where it is said. Off: faster,
    words are only guessed from their sentence."""
    align: str | None = None
    """Find the words' times by forced alignment with this network instead: a folder or hub name of one trained by CTC for the language,
    e.g. kresnik/wav2vec2-large-xlsr-korean."""
    compute_type: Literal["auto", "float32", "float16", "bfloat16", "int8", "int8_float16"] = "auto"
    """Precision of the weights. auto is the fastest that the device has."""
    cache: str = "outputs/cache"
    """Folder where transcripts are kept, by audio, program version, model and these options."""
