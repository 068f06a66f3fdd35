"""What `train.precision: auto` is for a run: bf16 where the device computes in it and the network is wide enough to gain."""

from __future__ import annotations

from ser.config import Config
from ser.models.hub import checkpoint_folder
from ser.models.pretrained import read_config
from ser.runtime.device import cpu_has_bf16

WIDE = 512
"""States of this size or more gain on a CPU. Measured on an AMD EPYC, epochs in bf16 beside float32: a tiny network (64) takes 1.1 times
as long, Whisper base (512) 0.59 of the time, wav2vec2-base (768) 0.55; Whisper base came out as good (docs/pretrained.md)."""


def precision_of(config: Config) -> str:
    """`train.precision` as given; but bf16 for auto on a CPU that has instructions for it, where a wide pretrained encoder is trained.

    A frozen encoder runs once for all epochs: it stays in float32 there. On a GPU auto stays auto, see `make_accelerator`.
    """
    model, given = config.model, config.train.precision
    trained = model.kind == "encoder" and model.from_scratch is None and model.freeze != "encoder"
    if given != "auto" or not trained or not cpu_has_bf16():
        return given
    from ser.models.encoder.encoder import MODEL_TYPES

    return "bf16" if read_config(checkpoint_folder(model.name), MODEL_TYPES, "encoders").hidden_size >= WIDE else given
