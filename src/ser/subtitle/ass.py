"""Writing .ass (Advanced SubStation Alpha): a style per emotion, a legend, colours as strong as the model is sure, karaoke."""

from __future__ import annotations

from collections.abc import Sequence

from pysubs2 import Alignment, Color, SSAEvent, SSAFile, SSAStyle

from ser.config import SubtitlesConfig
from ser.data.labels import english, korean
from ser.subtitle.cues import Cue
from ser.subtitle.text import clean, inert
from ser.subtitle.theme import LABELS, Look, Theme

WIDTH, HEIGHT = 1920, 1080
LEGEND_SECONDS = 6
HALF = 0x80  # transparency
FAINTEST = 0.45  # of an emotion's colour, the rest is neutral's: how a barely sure one looks


def ass_text(cues: Sequence[Cue], theme: Theme, config: SubtitlesConfig) -> str:
    """The whole .ass file."""
    file = SSAFile()
    file.info |= {"PlayResX": f"{WIDTH}", "PlayResY": f"{HEIGHT}", "WrapStyle": "2"}
    file.info |= {"ScaledBorderAndShadow": "yes", "YCbCr Matrix": "None"}
    legend = _style(theme.looks["neutral"], Alignment.TOP_RIGHT, theme.margin, scale=0.6)
    file.styles = {label: _style(theme.looks[label], Alignment.BOTTOM_CENTER, theme.margin) for label in LABELS} | {"legend": legend}
    file.events = [_legend(theme, config)] if config.legend and cues else []
    file.events += [_dialogue(cue, theme, config) for cue in cues]
    return file.to_string("ass", header_notice=f"fonts in this order: {', '.join(theme.fonts)}")


def ass_colour(colour: str) -> str:
    """#RRGGBB as BBGGRR, the order of .ass."""
    return (colour[5:7] + colour[3:5] + colour[1:3]).upper()


def shade(look: Look, neutral: Look, confidence: float, least: float) -> str:
    """An emotion's colour, mixed with neutral's the less sure the model is: #RRGGBB. least: the lowest confidence that is shown."""
    strength = FAINTEST + (1 - FAINTEST) * min(1.0, max(0.0, (confidence - least) / max(1 - least, 1e-6)))
    pairs = [(int(look.colour[at : at + 2], 16), int(neutral.colour[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(own * strength + other * (1 - strength)):02X}" for own, other in pairs)


def _style(look: Look, alignment: Alignment, margin: int, scale: float = 1.0) -> SSAStyle:
    return SSAStyle(
        fontname=look.font,
        fontsize=round(look.size * scale, 2),
        primarycolor=_colour(look.colour),
        secondarycolor=_colour(look.colour, HALF),
        outlinecolor=_colour(look.outline_colour),
        backcolor=_colour("#000000", HALF),
        bold=look.bold,
        italic=look.italic,
        outline=round(look.outline * scale, 2),
        shadow=round(look.shadow * scale, 2),
        alignment=alignment,
        marginl=margin,
        marginr=margin,
        marginv=margin,
    )


def _colour(colour: str, transparency: int = 0) -> Color:
    return Color(*(int(colour[at : at + 2], 16) for at in (1, 3, 5)), transparency)


def _legend(theme: Theme, config: SubtitlesConfig) -> SSAEvent:
    name = korean if config.names == "ko" else english
    entries = [f"{{\\1c&H{ass_colour(theme.looks[label].colour)}&}}{name(label)}" for label in LABELS]
    return SSAEvent(0, 1000 * LEGEND_SECONDS, "\\N".join(entries), style="legend", layer=1)


def _dialogue(cue: Cue, theme: Theme, config: SubtitlesConfig) -> SSAEvent:
    speaker = "" if cue.speaker is None else inert(clean(cue.speaker.replace(",", " ").replace(";", " ")))
    look, neutral = theme.looks[cue.style], theme.looks["neutral"]
    colour = ""
    if config.intensity and cue.style != "neutral":
        colour = f"{{\\1c&H{ass_colour(shade(look, neutral, cue.confidence, config.min_confidence))}&}}"
    lines = _karaoke(cue) if config.karaoke and cue.words else [inert(line) for line in cue.lines]
    return SSAEvent(10 * cue.start, 10 * cue.end, colour + "\\N".join(lines), style=cue.style, name=speaker)


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
