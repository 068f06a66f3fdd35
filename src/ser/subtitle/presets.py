"""The numbers that those who take subtitles ask for: letters a line and a second, how long and how far apart
subtitles stand, which gaps are closed, whether short ones are joined.

netflix_ko and netflix_en follow Netflix's timed text style guides (general requirements, Korean, English); youtube sets no rules itself,
its values are the custom there; plain is this project's own. A key that is given (`--subtitles.columns 30`) wins over a preset's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ser.config import SubtitlesConfig


@dataclass(frozen=True)
class Rules:
    """columns: of a line, where wide letters (Hangul) count two: Netflix counts Latin letters, blanks and marks half in Korean. letters per
    second: blanks and marks count. gap_frames: at least between two subtitles. closes_frames: a shorter gap is closed to gap_frames.
    joins: subtitles too short to be read are put together with a neighbour. dash: before what each of two speakers says. named: how a
    speaker is named before the text.
    """

    columns: int = 42
    korean_columns: int = 32
    lines: int = 2
    min_seconds: float = 0.83
    max_seconds: float = 7.0
    letters_per_second: float = 20.0
    korean_letters_per_second: float = 12.0
    gap_frames: int = 0
    closes_frames: int = 0
    joins: bool = False
    dash: str = "- "
    named: str = "{}: "
    korean_italics: bool = True

    def width(self, korean: bool) -> int:
        """Columns of a line."""
        return self.korean_columns if korean else self.columns

    def speed(self, korean: bool) -> float:
        """Letters a second."""
        return self.korean_letters_per_second if korean else self.letters_per_second


NETFLIX = Rules(gap_frames=2, closes_frames=12, joins=True)
PRESETS = {
    "plain": Rules(),
    "netflix_ko": replace(NETFLIX, korean_italics=False, named="({}) "),
    "netflix_en": replace(NETFLIX, dash="-", named="[{}] "),
    "youtube": Rules(min_seconds=1.0, letters_per_second=21.0, joins=True),
}
SDH_KOREAN_SPEED = 14.0  # netflix_ko: for the deaf and hard of hearing


def rules_of(config: SubtitlesConfig) -> Rules:
    """The rules of the config's preset, with the keys that the config gives itself."""
    rules = PRESETS[config.preset]
    if config.sdh and config.preset == "netflix_ko":
        rules = replace(rules, korean_letters_per_second=SDH_KOREAN_SPEED)
    own = ("columns", "korean_columns", "lines", "min_seconds", "max_seconds", "letters_per_second", "korean_letters_per_second")
    given = {key: getattr(config, key) for key in own if getattr(config, key) is not None}
    return replace(rules, **given)
