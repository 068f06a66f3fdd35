"""A network in an ONNX file, run by onnxruntime: what `python -m ser.export` writes as model.onnx.

The file is whole by itself: labels and the way from a wave or a text to the graph's inputs are in its metadata, as JSON under the key
`ser`. Here it offers what every network offers, so batches, windows and commands are the same as with the torch weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ser.models.base import Frontend, SerModel
from ser.models.frames.frames import FrameFrontend
from ser.models.frontend_json import frontend_from_json, takes_of
from ser.models.text.text_encoder import Tokens
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
        self.takes = takes_of(frontend)

    @property
    def uses_voices(self) -> bool:
        """Whether a clip's features depend on whose voice it is."""
        return isinstance(self.frontend, FrameFrontend) and self.frontend.standards.by is not None

    def read_at_most(self, tokens: int) -> None:
        """Cut texts to fewer tokens than in training; more is never read."""
        if isinstance(self.frontend, Tokens):
            self.frontend = replace(self.frontend, max_tokens=min(tokens, self.frontend.max_tokens))

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) float32, on the device of the batch."""
        device = next(iter(batch.values())).device
        logits = self.session.run(["logits"], {name: value.cpu().numpy() for name, value in graph_inputs(batch).items()})[0]
        return torch.from_numpy(logits).to(device)

    def _write(self, folder: Path) -> dict:
        raise UserError("an ONNX model is written by `python -m ser.export` from the network it was made of.")


def graph_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A frontend's batch as graphs take it: an attention mask of truths in whole numbers, as transformers' extractors make it."""
    return {name: value.long() if name == "attention_mask" else value for name, value in batch.items()}


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
