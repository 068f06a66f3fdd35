"""A torch network as an ONNX graph of dynamic batch and length."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ser.models.base import SerModel
from ser.models.frames.frames import Recurrent
from ser.models.frontend_json import example_clips, frontend_as_json
from ser.models.onnx import INSTALL, METADATA, graph_inputs
from ser.runtime.errors import UserError

OPSET = 18
OF_ONE_SIZE = ("audio", "words")  # vectors of a whole clip, which a fusion takes
# A protobuf file can't be larger than 2 GiB; the weights of such a network go into a file beside it.
LARGEST_INSIDE = 1_800_000_000


def write_onnx(model: SerModel, path: Path) -> None:
    """Write the network as ONNX: inputs as its frontend's `collate` names them, output `logits` (batch, labels).

    Batch and length are free, masks are inputs like in torch. Labels, length limit and preprocessing go into the file's metadata.
    Raises UserError where the exporter isn't installed or can't express the network.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise UserError(f"{error.name} isn't installed, which writes ONNX files. Bring it: {INSTALL}") from None
    batch = graph_inputs(model.frontend.collate(example_clips(model.frontend, (1.0, 0.7), seed=0)))
    graph = _Positional(_expressible(model).eval(), list(batch))
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                tuple(batch.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(batch),
                output_names=["logits"],
                dynamic_shapes=(tuple(_free_sizes(batch).values()),),
                verbose=False,
            )
    except Exception as error:  # each stage of the exporter has exceptions of its own
        raise UserError(f"this {model.kind} network can't be written as ONNX: {' '.join(str(error).split())[:400]}") from None
    card = {
        "label_names": list(model.label_names),
        "max_seconds": model.max_seconds,
        "exact_length": model.exact_length,
        "noise_reduction": model.noise_reduction,
        "speech_level_db": model.speech_level_db,
        "sampling_rate": 16_000,
        "frontend": frontend_as_json(model.frontend),
    }
    program.model.metadata_props[METADATA] = json.dumps(card, ensure_ascii=False)
    program.save(path, external_data=size > LARGEST_INSIDE)
    onnx.checker.check_model(path)


def _free_sizes(batch: dict[str, torch.Tensor]) -> dict[str, dict[int, str]]:
    """Names of the dimensions that may change: batch and length, which is the last of Whisper's spectrogram (batch, mel bins, length)."""
    sizes = {}
    for name, value in batch.items():
        has_length = value.ndim > 1 and name not in OF_ONE_SIZE
        sizes[name] = {0: "batch", **({2 if name == "input_features" else 1: "length"} if has_length else {})}
    return sizes


class _Positional(nn.Module):
    """The network with its inputs by position, as the exporter wants them."""

    def __init__(self, model: SerModel, names: list[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, values, strict=True)))


def _expressible(model: SerModel) -> SerModel:
    """A copy in which recurrent layers are ONNX's own, since packed sequences can't be traced."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Recurrent):
                setattr(module, name, _OnnxRecurrent(child.layer))
    return model


class _OnnxRecurrent(nn.Module):
    """`Recurrent` by ONNX's operators GRU and LSTM, which take the length of each clip and leave zeros after it."""

    # Torch's order of the gates as places in ONNX's: reset, update, new → update, reset, hidden; input, forget, cell, output → i o f c.
    GATES = ((nn.GRU, "GRU", (1, 0, 2)), (nn.LSTM, "LSTM", (0, 3, 1, 2)))

    def __init__(self, layer: nn.RNNBase):
        super().__init__()
        self.operator, order = next((operator, order) for kind, operator, order in self.GATES if isinstance(layer, kind))
        if layer.num_layers != 1 or not layer.batch_first:
            raise UserError(f"{layer}: only single recurrent layers, batch first, can be written as ONNX.")
        self.hidden, self.both = layer.hidden_size, layer.bidirectional

        def stacked(name: str) -> torch.Tensor:
            directions = [getattr(layer, name + end) for end in ("_l0", "_l0_reverse")[: 1 + self.both]]
            return torch.stack([torch.cat([weights.chunk(len(order))[gate] for gate in order]) for weights in directions]).detach()

        self.register_buffer("inputs", stacked("weight_ih"))
        self.register_buffer("states", stacked("weight_hh"))
        self.register_buffer("biases", torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1))

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, D), mask (B, T) -> states (B, T, directions × hidden), zero in the padding."""
        directions, (batch, time, _) = 1 + self.both, frames.shape
        attributes = {"hidden_size": self.hidden, "direction": "bidirectional" if self.both else "forward"}
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1  # as torch has it
        states = torch.onnx.ops.symbolic(
            self.operator,
            (frames.transpose(0, 1), self.inputs, self.states, self.biases, mask.sum(1).to(torch.int32)),
            attributes,
            dtype=frames.dtype,
            shape=(time, directions, batch, self.hidden),
        )
        return states.permute(2, 0, 1, 3).reshape(batch, time, directions * self.hidden)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that aren't needed here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
