"""Writing .ass (Advanced SubStation Alpha): a style per emotion, a legend, colours as strong as the model is sure, karaoke."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ser.config import SubtitlesConfig
from ser.data.labels import english, korean
from ser.subtitle.cues import Cue
from ser.subtitle.text import clean, inert
from ser.subtitle.theme import LABELS, Look, Theme

WIDTH, HEIGHT = 1920, 1080
LEGEND_SECONDS = 6
FAINTEST = 0.45  # of an emotion's colour, the rest is neutral's: how a barely sure one looks
STYLE_FIELDS = (
    "Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, "
    "ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding"
)
EVENT_FIELDS = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"


def ass_text(cues: Sequence[Cue], theme: Theme, config: SubtitlesConfig) -> str:
    """The whole .ass file."""
    lines = [
        "[Script Info]",
        f"; fonts in this order: {', '.join(theme.fonts)}",
        "ScriptType: v4.00+",
        f"PlayResX: {WIDTH}",
        f"PlayResY: {HEIGHT}",
        "WrapStyle: 2",
        "ScaledBorderAndShadow: yes",
        "YCbCr Matrix: None",
        "",
        "[V4+ Styles]",
        f"Format: {STYLE_FIELDS}",
        *(_style(label, theme.looks[label], 2, theme.margin) for label in LABELS),
        _style("legend", theme.looks["neutral"], 9, theme.margin, scale=0.6),
        "",
        "[Events]",
        f"Format: {EVENT_FIELDS}",
        *(_legend(theme, config) if config.legend and cues else ()),
        *(_dialogue(cue, theme, config) for cue in cues),
    ]
    return "\n".join(lines) + "\n"


def ass_time(centiseconds: int) -> str:
    """0:00:00.00"""
    seconds, rest = divmod(centiseconds, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:02d}"


def ass_colour(colour: str) -> str:
    """#RRGGBB as BBGGRR, the order of .ass."""
    return (colour[5:7] + colour[3:5] + colour[1:3]).upper()


def shade(look: Look, neutral: Look, confidence: float, least: float) -> str:
    """An emotion's colour, mixed with neutral's the less sure the model is: #RRGGBB. least: the lowest confidence that is shown."""
    strength = FAINTEST + (1 - FAINTEST) * min(1.0, max(0.0, (confidence - least) / max(1 - least, 1e-6)))
    pairs = [(int(look.colour[at : at + 2], 16), int(neutral.colour[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(own * strength + other * (1 - strength)):02X}" for own, other in pairs)


def _style(name: str, look: Look, alignment: int, margin: int, scale: float = 1.0) -> str:
    colours = f"&H00{ass_colour(look.colour)},&H80{ass_colour(look.colour)},&H00{ass_colour(look.outline_colour)},&H80000000"
    flags = f"{-1 if look.bold else 0},{-1 if look.italic else 0},0,0"
    edges = f"{look.outline * scale:g},{look.shadow * scale:g}"
    return (
        f"Style: {name},{look.font},{look.size * scale:g},{colours},{flags},100,100,0,0,1,{edges},{alignment},{margin},{margin},{margin},1"
    )


def _legend(theme: Theme, config: SubtitlesConfig) -> Iterator[str]:
    name = korean if config.names == "ko" else english
    entries = [f"{{\\1c&H{ass_colour(theme.looks[label].colour)}&}}{name(label)}" for label in LABELS]
    yield f"Dialogue: 1,{ass_time(0)},{ass_time(LEGEND_SECONDS * 100)},legend,,0,0,0,," + "\\N".join(entries)


def _dialogue(cue: Cue, theme: Theme, config: SubtitlesConfig) -> str:
    speaker = "" if cue.speaker is None else inert(clean(cue.speaker.replace(",", " ").replace(";", " ")))
    look, neutral = theme.looks[cue.style], theme.looks["neutral"]
    colour = ""
    if config.intensity and cue.style != "neutral":
        colour = f"{{\\1c&H{ass_colour(shade(look, neutral, cue.confidence, config.min_confidence))}&}}"
    lines = _karaoke(cue) if config.karaoke and cue.words else [inert(line) for line in cue.lines]
    return f"Dialogue: 0,{ass_time(cue.start)},{ass_time(cue.end)},{cue.style},{speaker},0,0,0,,{colour}" + "\\N".join(lines)


def _karaoke(cue: Cue) -> list[str]:
    """Each word behind the centiseconds that its filling takes, counted from the cue's start so that roundings don't add up."""
    lines, words, at = [], iter(cue.words), cue.start
    for line in cue.lines:
        filled = []
        for text, word in zip(line.split(" "), words, strict=False):
            end = min(max(at, round(word.end * 100)), cue.end)
            filled.append(f"{{\\kf{end - at}}}{inert(text)}")
            at = end
        lines.append(" ".join(filled))
    return lines
