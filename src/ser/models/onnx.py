"""A network in an ONNX file, run by onnxruntime: what `python -m ser.export` writes as model.onnx.

The file is whole by itself: labels and the way from a wave to the graph's inputs are in its metadata, as JSON under the key
`ser`. Here it offers what every network offers, so batches, windows and commands are the same as with the torch weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ser.data.utterance import Utterance
from ser.features.spectral import Spectrum
from ser.models.base import Frontend, SerModel
from ser.models.encoder.frontends import LogMel, Waveform
from ser.models.frames.frames import FrameFrontend
from ser.models.frames.standards import Standards
from ser.runtime.errors import UserError

if TYPE_CHECKING:
    import onnxruntime

METADATA = "ser"
INSTALL = "pip install -r requirements-export.txt"


class OnnxModel(SerModel):
    """A graph that turns the frontend's batch into `logits` (B, n_labels). It can't be trained or saved."""

    def __init__(
        self, session: onnxruntime.InferenceSession, frontend: Frontend, label_names: Sequence[str], max_seconds: float, exact_length: bool
    ):
        super().__init__("onnx", label_names, max_seconds, exact_length)
        self.session, self.frontend = session, frontend

    @property
    def uses_voices(self) -> bool:
        """Whether a clip's features depend on whose voice it is."""
        return isinstance(self.frontend, FrameFrontend) and self.frontend.standards.by is not None

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) float32, on the device of the batch."""
        device = next(iter(batch.values())).device
        logits = self.session.run(["logits"], {name: value.cpu().numpy() for name, value in batch.items()})[0]
        return torch.from_numpy(logits).to(device)

    def _write(self, folder: Path) -> dict:
        raise UserError("an ONNX model is written by `python -m ser.export` from the network it was made of.")


def open_onnx(path: str | Path) -> OnnxModel:
    """Open a file that `python -m ser.export` wrote. Raises UserError where it isn't one, or onnxruntime isn't installed."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: onnxruntime isn't installed, which runs ONNX files. Bring it: {INSTALL}") from None
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file. `python -m ser.export RUN --output DIR` writes DIR/model.onnx.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        card = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        frontend = frontend_from_json(card["frontend"])
        model = OnnxModel(session, frontend, card["label_names"], card["max_seconds"], card["exact_length"])
        model.noise_reduction, model.speech_level_db = card["noise_reduction"], card.get("speech_level_db")
    except KeyError as error:
        raise UserError(
            f"{path}: its metadata lacks {error}, so labels and preprocessing aren't known. Only files of `python -m ser.export` work here."
        ) from None
    except Exception as error:  # onnxruntime has a class of its own for each way in which a file can be damaged
        raise UserError(f"{path}: no readable ONNX model ({' '.join(str(error).split())[:300]}). Export it again.") from None
    return model


def frontend_as_json(frontend: Frontend) -> dict:
    """Everything that lies between a wave at 16 kHz and the graph, as JSON values."""
    if isinstance(frontend, Waveform):
        return {"kind": "waveform", **asdict(frontend)}
    if isinstance(frontend, LogMel):
        return {"kind": "whisper", "extractor": json.loads(frontend.extractor.to_json_string()), "own_length": frontend.own_length}
    if isinstance(frontend, FrameFrontend):
        plain = asdict(replace(frontend, standards=None))
        return {"kind": "frames", **plain, "standards": frontend.standards.as_json()}
    raise UserError(f"{type(frontend).__name__}: this preprocessing can't be written into an ONNX file.")


def frontend_from_json(value: dict) -> Frontend:
    """What `frontend_as_json` described. Raises KeyError, TypeError or ValueError for anything else."""
    settings = {key: item for key, item in value.items() if key != "kind"}
    if value["kind"] == "waveform":
        return Waveform(**settings)
    if value["kind"] == "whisper":
        from transformers import WhisperFeatureExtractor

        return LogMel(WhisperFeatureExtractor(**settings["extractor"]), bool(settings.get("own_length", False)))
    if value["kind"] == "frames":
        parts = {"spectrum": Spectrum(**settings.pop("spectrum")), "standards": Standards.from_json(settings.pop("standards"))}
        return FrameFrontend(**settings, **parts)
    raise ValueError(f"unknown preprocessing {value['kind']!r}")


def example_clips(frontend: Frontend, seconds: Sequence[float], seed: int) -> list[np.ndarray]:
    """Prepared clips of noise that swells, one for each length: what a graph is traced and compared on."""
    rng = np.random.default_rng(seed)
    clips = []
    for length in seconds:
        time = np.arange(max(1, round(16_000 * length))) / 16_000
        wave = rng.normal(0, 0.1, len(time)) * (0.2 + np.sin(2 * np.pi * rng.uniform(0.5, 4) * time) ** 2)
        clips.append(frontend.prepare(Utterance(wave.astype(np.float32))))
    return clips
