"""An encoder compiled by OpenVINO, whose products are quicker on a CPU than torch's: to predict many clips with a large network.

Measured on wav2vec2-base and two cores with AVX-512 BF16: 1.2 to 1.3 times torch's speed in float32, the same states (2e-6); in bf16 1.3
to 1.4 times.
"""

from __future__ import annotations

import sys
import warnings

import torch
from torch import nn
from transformers import PreTrainedModel

from ser.models.base import Model
from ser.models.encoder.encoder import EncoderModel
from ser.models.encoder.states import hidden_states, without_padding
from ser.models.pretrained import quiet
from ser.runtime.errors import UserError
from ser.runtime.progress import say

INSTALL = "pip install -r requirements-openvino.txt"
CHECKED = 3
"""Clips at the beginning that torch hears as well: a size that the compiled graph took for fixed would show."""
TOLERANCE = {"f32": 1e-3, "bf16": 0.1}
"""Of the largest value of a state."""


def compile_for_cpu(model: Model, bf16: bool) -> None:
    """Have the model's encoder run by OpenVINO from now on, in bf16 or float32, one clip at a time and in prediction alone.

    It is compiled at its first clip (some seconds), so an encoder that was heard in another fold already isn't. Raises UserError for a
    model without audio encoder or on a GPU, where OpenVINO isn't installed, and at the first clip where it can't express the encoder.
    """
    if not isinstance(model, EncoderModel) or model.encoder.device.type != "cpu":
        what = f"here is a model of kind {model.kind}" if not isinstance(model, EncoderModel) else "here is a GPU, which is quicker"
        raise UserError(f"engine openvino is for audio encoders on a CPU; {what}: leave --engine out.")
    sys.modules.setdefault("openvino_telemetry", None)  # it would tell Google Analytics of each conversion, and can be left out
    try:
        import openvino  # noqa: F401
    except ImportError:
        raise UserError(f"engine openvino: the package isn't installed. Bring it: {INSTALL}; or leave --engine out.") from None
    model.states_of, model.clips_at_once = _Compiled(bf16), 1


class _Compiled:
    """In the place of `hidden_states`, for one encoder."""

    def __init__(self, bf16: bool):
        self.precision = "bf16" if bf16 else "f32"
        self.request, self.checked = None, 0

    def __call__(
        self, encoder: PreTrainedModel, batch: dict[str, torch.Tensor], every_layer: bool
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        batch = without_padding(encoder, batch)
        if self.request is None:
            self.request = self._compile(_States(encoder, list(batch), every_layer), batch)
        answer = self.request.infer([value.numpy() for value in batch.values()])
        found = tuple(torch.from_numpy(values.copy()) for values in answer.values())  # the next clip is written where this one was
        if self.checked < CHECKED:
            self._check(found, _States(encoder, list(batch), every_layer)(*batch.values()), encoder.config.model_type)
        count = encoder.config.num_hidden_layers + 1 if every_layer else 1
        return found[:count], found[count] if len(found) > count else None

    def _check(self, found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...], kind: str) -> None:
        for ours, torchs in zip(found, expected, strict=True):
            ours, torchs = ours.float(), torchs.float()  # the mask among them
            if ours.shape != torchs.shape or not (ours - torchs).abs().max() <= TOLERANCE[self.precision] * torchs.abs().max():
                raise UserError(f"engine openvino doesn't give what torch gives for this encoder ({kind}). Leave --engine out.")
        self.checked += 1

    def _compile(self, states: nn.Module, batch: dict[str, torch.Tensor]) -> object:
        import openvino

        say(f"compiling the encoder for this CPU in {'bf16' if self.precision == 'bf16' else 'float32'} (OpenVINO) …")
        any_length = [[1, *[-1] * (value.ndim - 1)] for value in batch.values()]
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # beside another process on the same machine, pinned threads would share a core
        }
        try:
            with torch.no_grad(), torch.autocast("cpu", enabled=False), quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what torch's tracing says of Python values
                graph = openvino.convert_model(states.eval(), example_input=tuple(batch.values()), input=any_length)
            return openvino.compile_model(graph, "CPU", settings).create_infer_request()
        except Exception as error:  # tracing and conversion have exceptions of their own at each stage
            kind, told = states.encoder.config.model_type, " ".join(str(error).split())[:300]
            raise UserError(f"engine openvino can't run this encoder ({kind}): {told}. Leave --engine out.") from None


class _States(nn.Module):
    """An encoder with its inputs by position, and the mask of real frames as the last of its outputs, where there is one."""

    def __init__(self, encoder: PreTrainedModel, names: list[str], every_layer: bool):
        super().__init__()
        self.encoder, self.names, self.every_layer = encoder, names, every_layer

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        states, mask = hidden_states(self.encoder, dict(zip(self.names, values, strict=True)), self.every_layer)
        return states if mask is None else (*states, mask)
