"""Keys of emotion subtitles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt


@dataclass
class SubtitlesConfig:
    """Emotion subtitles: how emotions are found and how they are shown."""

    min_confidence: ClosedUnitInterval = 0.4
    """Segments whose emotion is less probable are shown in the neutral style."""
    smoothing: NonNegativeFloat = 0.0
    """Seconds over which the probabilities of neighbouring segments are averaged (the width of a Gaussian); 0 is off."""
    context: PositiveFloat = 1.0
    """Seconds of sound that the model hears at least: shorter segments are widened into the pauses around them."""
    match_level: bool = True
    """Hear the film, all of it by one gain, as loud as the model's training clips were: where loudness says something of the emotion,
    another level misleads."""
    batch_size: PositiveInt = 16
    """Segments in one forward pass."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic; auto is bf16 on a GPU that has it, else fp32."""
    theme: str = "default"
    """default, or a YAML file with fonts, colours and the like (docs/subtitles.md)."""
    names: Literal["en", "ko"] = "en"
    """Language in which emotions are named: in the legend, and where there is no transcript."""
    legend: bool = True
    """Show what the colours mean during the first seconds (.ass)."""
    intensity: bool = True
    """The surer the model, the stronger the colour (.ass)."""
    karaoke: bool = False
    """Fill words as they are spoken (.ass), where the transcript has their times."""
    speakers: bool = True
    """Put the speaker's name before the text, where it is known."""
    sdh: bool = False
    """Say how it is said, for the deaf and hard of hearing: [angrily], [화난 목소리로] before the text where the emotion changes; the
    theme's words, in the language of `names`."""
    preset: Literal["plain", "netflix_ko", "netflix_en", "youtube"] = "plain"
    """Whose rules the subtitles follow (docs/subtitles.md); each of the keys below changes one of them."""
    columns: PositiveInt | None = None
    """Longest line in Latin letters. Wide letters (Hangul) count two. plain: 42."""
    korean_columns: PositiveInt | None = None
    """Longest line where most letters are Hangul. plain: 32, which is 16 of them."""
    lines: PositiveInt | None = None
    """Lines on the screen at once; longer text becomes several subtitles one after the other. plain: 2."""
    min_seconds: PositiveFloat | None = None
    """Subtitles stay at least this long, where the next one leaves room. plain: 0.83."""
    max_seconds: PositiveFloat | None = None
    """Subtitles stay no longer than this; longer speech becomes several. plain: 7."""
    letters_per_second: PositiveFloat | None = None
    """Reading speed in Latin letters; a faster subtitle stays longer where the next one leaves room. plain: 20."""
    korean_letters_per_second: PositiveFloat | None = None
    """Reading speed in Hangul letters. plain: 12."""
