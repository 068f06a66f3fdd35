"""Whether an ONNX file gives what the torch network gives, on clips of random length, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ser.models.base import SerModel
from ser.models.frontend_json import example_clips
from ser.models.onnx import OnnxModel, open_onnx
from ser.runtime.errors import UserError

TOLERANCE = 1e-4
BATCHES, BATCH_SIZE = 4, 3
LONGEST = 10.0


@dataclass(frozen=True)
class Parity:
    """What was tried, and the largest differences of a logit: ONNX to torch, padded in a batch to alone (None where nothing is padded)."""

    tried: str
    to_torch: float
    padded: float | None

    def __str__(self) -> str:
        padded = "" if self.padded is None else f", padded in a batch to alone {self.padded:.1e}"
        return f"{self.tried}: largest difference of a logit to torch {self.to_torch:.1e}{padded} (allowed {TOLERANCE:.0e})"


def check_parity(model: SerModel, path: Path) -> Parity:
    """Run the same clips through both. Raises UserError where a logit differs by more than TOLERANCE (of 1, or of the largest logit)."""
    exported = open_onnx(path)
    rng = np.random.default_rng(0)
    longest = min(model.max_seconds or LONGEST, LONGEST)  # a text classifier from elsewhere has no seconds
    to_torch, padded, lengths, largest = [0.0], [0.0], [], [1.0]
    for number in range(BATCHES):
        seconds = np.exp(rng.uniform(np.log(0.1), np.log(longest), BATCH_SIZE))
        if model.exact_length:
            seconds[:] = seconds[0]
        clips = example_clips(model.frontend, seconds, seed=number)
        lengths += [len(text) for text in clips] if model.takes == "text" else seconds.tolist()
        with torch.inference_mode():
            reference = model.eval()(**model.frontend.collate(clips))
        result = _logits(exported, clips)
        largest.append(float(reference.abs().max()))
        to_torch.append(float((result - reference).abs().max()))
        if not model.exact_length:
            alone = torch.cat([_logits(exported, [clip]) for clip in clips])
            padded.append(float((result - alone).abs().max()))
    worst, worst_padded = float(np.max(to_torch)), float(np.max(padded))  # unlike max(), it keeps a NaN
    what = {"audio": "clips of {} s", "text": "texts of {} tokens", "audio and text": "clips of {} s with words"}[model.takes]
    lengths_told = f"{min(lengths):.3g} to {max(lengths):.3g}"
    tried = f"{len(lengths)} {what.format(lengths_told)}"
    parity = Parity(tried, worst, None if model.exact_length else worst_padded)
    if not np.max([worst, worst_padded]) <= TOLERANCE * np.max(largest):  # `not … <=`, so that NaN fails too
        raise UserError(f"the ONNX file doesn't give what the network gives, so nothing was written. {parity}.")
    return parity


def _logits(model: OnnxModel, clips: list[np.ndarray]) -> torch.Tensor:
    return model(**model.frontend.collate(clips))
