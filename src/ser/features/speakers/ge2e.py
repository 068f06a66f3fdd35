"""What a voice is like, whatever it says: GE2E speaker embeddings (Wan et al. 2018, arXiv 1710.10467).

A small LSTM, pretrained on thousands of speakers, whose weights the package `resemblyzer` ships (Apache-2.0, 17 MB). Only the file of
weights is read, as nothing but tensors; the package's code, which needs outdated packages, isn't run.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ser.audio import SAMPLE_RATE
from ser.features.spectral import Spectrum, mel_power
from ser.models.pickled import tensors_of
from ser.runtime.errors import UserError

MELS, SIZE, LAYERS = 40, 256, 3
WINDOW, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100
PARTIAL = 160
"""Frames of 10 ms that the network hears at once."""
STEP = round(100 / 1.3)
LEAST_COVERED = 0.75
"""A last part with less of the clip in it is left out."""
LEAST_DBFS = -30.0
"""Quieter clips are made as loud."""


def check_installed() -> None:
    """Raises UserError where the weights aren't there."""
    weights_file()


def weights_file() -> Path:
    """Where the package keeps its weights. Raises UserError where it isn't installed."""
    found = find_spec("resemblyzer")
    file = Path(found.submodule_search_locations[0]) / "pretrained.pt" if found else None
    if file is None or not file.is_file():
        raise UserError(
            "model.classical.voices ge2e needs the speaker embeddings of the package resemblyzer: "
            "pip install --no-deps -r requirements-speakers.txt. Without it: --model.classical.voices features."
        )
    return file


class Ge2eNetwork(nn.Module):
    """(B, 160, 40) mel powers -> (B, 256) of length 1, all at least 0."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, SIZE, LAYERS, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Mel powers of parts of a clip -> an embedding of each."""
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


@lru_cache(maxsize=1)
def _network() -> Ge2eNetwork:
    weights, network = tensors_of(weights_file(), "model_state"), Ge2eNetwork()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network.eval()


def parts(samples: int) -> list[int]:
    """The first frame of each part of a clip that is heard; at least one."""
    frames = -(-(samples + 1) // HOP)
    starts = list(range(0, max(1, frames - PARTIAL + STEP + 1), STEP))
    covered = (samples - starts[-1] * HOP) / (PARTIAL * HOP)
    return starts[:-1] if covered < LEAST_COVERED and len(starts) > 1 else starts


@torch.inference_mode()
def extract(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Wave (samples,) -> ge2e (256,) float32 of length 1: the mean over overlapping parts of 1.6 s."""
    wave = np.asarray(wave, np.float32)
    level = 10 * np.log10(np.square(wave).mean() + 1e-12)
    starts = parts(len(wave))
    wave = wave * 10 ** (max(0.0, LEAST_DBFS - level) / 20)
    wave = np.pad(wave, (0, max(0, (starts[-1] + PARTIAL) * HOP - len(wave))))
    mel = mel_power(wave, Spectrum(WINDOW, HOP, MELS)).float()
    embedded = _network()(torch.stack([mel[start : start + PARTIAL] for start in starts]))
    mean = embedded.mean(0).numpy()
    return {"ge2e": (mean / max(np.linalg.norm(mean), 1e-9)).astype(np.float32)}
