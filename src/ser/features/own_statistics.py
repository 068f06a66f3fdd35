"""The project's own features of a clip: functionals, and the 20 ms frames that are aligned to a template later."""

from __future__ import annotations

import numpy as np

from ser.features.alignment import contents, timbre
from ser.features.descriptors import describe
from ser.features.functionals import functionals
from ser.features.trim import trim


def extract(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Wave (samples,) -> functionals (2736,), timbre (T, 28) and contents (T, 56), float32, T frames every 20 ms."""
    frames = describe(trim(wave))
    return {
        "functionals": np.concatenate(list(functionals(frames).values())),
        "timbre": timbre(frames.mfcc),
        "contents": contents(frames),
    }
