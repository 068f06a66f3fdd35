"""Clips to look at and listen to in a notebook, a card for each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from markupsafe import Markup

from ser.report.page.sound import as_mp3, as_spectrogram

CARD = Markup(
    '<figure style="display:inline-block;margin:4px;width:240px;vertical-align:top">'
    '<figcaption style="font-size:12px;min-height:3em">{caption}</figcaption>'
    '<img src="{picture}" alt="spectrogram" style="width:100%;height:64px">'
    '<audio controls preload="none" style="width:100%;height:32px" src="{sound}"></audio></figure>'
)


def players(clips: Iterable[tuple[str, np.ndarray | None]]) -> Markup:
    """HTML of (caption, wave) pairs: float32 (T,) at 16 kHz, None where there is no sound any more. Captions are escaped.

    Sounds and spectrograms are part of the HTML (about 15 kB a clip), so a notebook can be handed on as one file.
    """
    return Markup("").join(
        Markup("<p>{}: no sound.</p>").format(caption)
        if wave is None
        else CARD.format(caption=caption, picture=as_spectrogram(wave), sound=as_mp3(wave))
        for caption, wave in clips
    )
