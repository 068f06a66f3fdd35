"""SpeechBrain's emotion models (wav2vec 2.0, mean over time, one linear layer) rebuilt from their weights, without its code.

A folder holds `config.json` of the encoder (as transformers writes it), `wav2vec2.safetensors`, `model.safetensors` (the linear
layer) and `label_encoder.txt`; the first two weights are the recipe's wav2vec2.ckpt and model.ckpt, converted by somebody who
trusts them, because those are pickles. Recipe: speechbrain/recipes/IEMOCAP/emotion_recognition (Ravanelli et al. 2021).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from ser.data.labels import canonical, is_emotion
from ser.models.base import SerModel
from ser.models.encoder.extractors import default_extractor
from ser.models.encoder.frontends import Waveform, waveform_frontend
from ser.runtime.errors import UserError

MAX_SECONDS = 15.0
ENCODER, HEAD, LABELS = "wav2vec2.safetensors", "model.safetensors", "label_encoder.txt"


class SpeechBrainModel(SerModel):
    """Encoder, layer norm over a clip's whole output, mean over time, linear layer; clips of a batch must be equally long."""

    frontend: Waveform

    def __init__(self, encoder: nn.Module, weight: torch.Tensor, label_names: tuple[str, ...], frontend: Waveform):
        super().__init__("speechbrain", label_names, MAX_SECONDS, exact_length=True)
        self.encoder, self.frontend = encoder, frontend
        self.classifier = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.classifier.weight.data.copy_(weight)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels)."""
        states = self.encoder(**batch).last_hidden_state
        return self.classifier(F.layer_norm(states, states.shape[1:]).mean(dim=1))

    def _write(self, folder: Path) -> dict:
        raise UserError("a SpeechBrain model is read here, not written.")


def open_speechbrain(folder: str | Path) -> SpeechBrainModel:
    """Open such a folder. Raises UserError for pickled weights, missing files, and weights that don't fit the config."""
    folder = Path(folder)
    if lacking := [name for name in ("config.json", ENCODER, HEAD, LABELS) if not (folder / name).is_file()]:
        pickled = sorted(path.name for pattern in ("*.ckpt", "*.pt", "*.bin", "*.pth") for path in folder.glob(pattern))
        hint = f" It holds {', '.join(pickled)}, pickles, which aren't opened because they can run code." if pickled else ""
        raise UserError(
            f"speechbrain:{folder} lacks {', '.join(lacking)}.{hint} Where you trust its author, convert each once "
            "with torch (weights_only) and safetensors.torch.save_file."
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        config._attn_implementation = None  # a folder can name a kernel on the hub here
        encoder = AutoModel.from_config(config, trust_remote_code=False)
        weights = {_plain(name): value for name, value in load_file(folder / ENCODER).items()}
        missing = encoder.load_state_dict(weights, strict=False).missing_keys
        head = [value for name, value in load_file(folder / HEAD).items() if name.endswith("weight") and value.ndim == 2]
        names = _labels(folder / LABELS)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise UserError(f"speechbrain:{folder} can't be opened: {' '.join(str(error).split())[:300]}") from None
    missing = [name for name in missing if not name.endswith("masked_spec_embed")]
    if missing or len(head) != 1 or head[0].shape != (len(names), config.hidden_size):
        raise UserError(f"speechbrain:{folder}: weights don't fit: {len(missing)} of the encoder missing, {len(names)} labels.")
    frontend = waveform_frontend(config, default_extractor(config), MAX_SECONDS)
    return SpeechBrainModel(encoder, head[0], names, frontend).eval()


def _plain(name: str) -> str:
    """Names as transformers has them now: without the wrapper's prefix, weight norm as a parametrization."""
    name = name.removeprefix("wav2vec2.").removeprefix("model.")
    name = name.replace("conv.weight_g", "conv.parametrizations.weight.original0")
    return name.replace("conv.weight_v", "conv.parametrizations.weight.original1")


def _labels(path: Path) -> tuple[str, ...]:
    """`'neu' => 0` line by line, in the order of the numbers; what follows the line of `=` isn't about labels."""
    text = path.read_text(encoding="utf-8").partition("\n===")[0]
    found = {int(number): name for name, number in re.findall(r"^'(.+)' => (\d+)$", text, re.MULTILINE)}
    if sorted(found) != list(range(len(found))) or not found:
        raise ValueError(f"{path.name} names no labels 0, 1, 2 …")
    return tuple(canonical(found[place]) if is_emotion(found[place]) else found[place] for place in range(len(found)))
