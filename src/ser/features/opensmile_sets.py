"""openSMILE's feature sets (Eyben et al. 2010): eGeMAPSv02 (88 features) and ComParE 2016 (6373), of the trimmed clip.

openSMILE is licensed for private, research and educational use only; a product needs a licence from audEERING. It is therefore
no requirement of this project: requirements-opensmile.txt installs it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.features.trim import trim
from ser.runtime.errors import UserError


def check_installed() -> None:
    """Raises UserError where openSMILE isn't installed."""
    if find_spec("opensmile") is None:
        raise UserError(
            "the features egemaps and compare need openSMILE, which isn't installed: pip install -r requirements-opensmile.txt. "
            "Its licence allows private, research and educational use only. Without it: --model.classical.features '[functionals]'."
        )


def egemaps(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Wave (samples,) -> egemaps (88,) float32."""
    return {"egemaps": _functionals(wave, "eGeMAPSv02")}


def compare(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Wave (samples,) -> compare (6373,) float32."""
    return {"compare": _functionals(wave, "ComParE_2016")}


def _functionals(wave: np.ndarray, feature_set: str) -> np.ndarray:
    values = _smile(feature_set).process_signal(trim(wave), SAMPLE_RATE).to_numpy()[0]
    return np.nan_to_num(values, posinf=0.0, neginf=0.0).astype(np.float32)


@lru_cache(maxsize=2)
def _smile(feature_set: str):
    import opensmile

    return opensmile.Smile(feature_set=opensmile.FeatureSet[feature_set], feature_level=opensmile.FeatureLevel.Functionals)
