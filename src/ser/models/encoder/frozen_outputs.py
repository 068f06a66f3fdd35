"""A frozen encoder's outputs, computed once per clip and kept on disk, and the head that is trained on them in its place.

An epoch then costs what the head costs. Kept is no more than the head needs: where it averages over time before anything else (the
hub's head, whose projection is linear), the mean of each layer; where it attends to frames, the frames. Each clip goes through the
encoder alone, so its outputs don't depend on its neighbours or on padding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from ser.data.clip_cache import CLIPS_PER_FILE, find_clips, read_clip, write_clips
from ser.data.inputs import Store
from ser.data.utterance import Utterance
from ser.models.base import SerModel
from ser.models.encoder.encoder import EncoderModel
from ser.runtime.progress import ProgressBar

FORMAT = 1  # raise it when what is kept of a clip changes
_NO_MATTER = ("_name_or_path", "id2label", "label2id", "problem_type", "transformers_version")


class OutputStore:
    """Encoder outputs of the clips of a store, by the same rows: (layers, size), or (layers, frames, size) for a head on frames."""

    def __init__(self, store: Store, files: dict[str, Path]):
        self.hashes = store.report["audio_hash"].tolist()
        self.frames, self.files, self.longest = store.frames, files, store.longest

    def __getitem__(self, row: int) -> np.ndarray:
        return read_clip(self.files[self.hashes[row]], self.hashes[row])["outputs"].astype(np.float32, copy=False)


class OutputFrontend:
    """Outputs are ready as they come."""

    def prepare(self, outputs: np.ndarray) -> np.ndarray:
        """Nothing is to be done."""
        return outputs

    def collate(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`outputs` (B, layers, size); or padded (B, layers, frames, size) with `mask` (B, frames), true for real ones."""
        if clips[0].ndim == 2:
            return {"outputs": torch.from_numpy(np.stack(clips))}
        lengths = [clip.shape[1] for clip in clips]
        outputs = torch.zeros(len(clips), len(clips[0]), max(lengths), clips[0].shape[2])
        for row, clip in zip(outputs, clips, strict=True):
            row[:, : clip.shape[1]] = torch.from_numpy(clip)
        return {"outputs": outputs, "mask": torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]}


class FrozenHead(SerModel):
    """The head of an encoder model, the same modules: what is trained here is trained there."""

    def __init__(self, model: EncoderModel):
        super().__init__("frozen_head", model.label_names, model.max_seconds, exact_length=False)
        self.frontend = OutputFrontend()
        self.head = model.head
        if model.head is None:
            self.projector, self.classifier = model.network.projector, model.network.classifier
            self.layer_weights = model.network.layer_weights if model.network.config.use_weighted_layer_sum else None

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        if self.head is not None:
            return self.head(outputs.unbind(1), mask).float()
        mean = outputs[:, -1] if self.layer_weights is None else (outputs * self.layer_weights.softmax(-1)[:, None]).sum(1)
        return self.classifier(self.projector(mean)).float()

    def _write(self, folder: Path) -> dict:
        raise TypeError("a head is saved with its encoder, by the model it belongs to")


def cached_outputs(
    model: EncoderModel,
    store: Store,
    rows: np.ndarray,
    folder: Path,
    accelerator: Accelerator,
    title: str = "clips",
    after_file: Callable[[], None] = lambda: None,
) -> OutputStore:
    """The encoder's outputs of the given (usable) rows; what isn't in the folder (of `outputs_folder`) yet is computed.

    after_file: called whenever some more of it is on disk; may raise to leave the rest for the next time.
    """
    hashes = store.report["audio_hash"].to_numpy()[rows].tolist()
    files = find_clips(folder, hashes)
    missing = {name: int(row) for name, row in sorted(zip(hashes, rows, strict=True)) if name not in files}  # equal audio once
    if missing:
        model.to(accelerator.device).eval()
        with ProgressBar(total=len(missing), what=f"encoder outputs of {title}") as bar:
            names = list(missing)
            for start in range(0, len(names), CLIPS_PER_FILE):
                part = names[start : start + CLIPS_PER_FILE]
                write_clips(folder, {name: {"outputs": _outputs(model, store[missing[name]], accelerator)} for name in part})
                bar.update(len(part))
                after_file()
        files |= find_clips(folder, missing)
    return OutputStore(store, files)


@torch.inference_mode()
def _outputs(model: EncoderModel, clip: Utterance, accelerator: Accelerator) -> np.ndarray:
    batch = {name: value.to(accelerator.device) for name, value in model.frontend.collate([model.frontend.prepare(clip)]).items()}
    with accelerator.autocast():
        outputs = model.encoder(**batch, output_hidden_states=_all_layers(model))
    states = outputs.hidden_states if _all_layers(model) else (outputs.last_hidden_state,)
    states = torch.cat(states).float()
    if model.head is None:
        return states.mean(1).cpu().numpy()
    return states.half().cpu().numpy()  # frames are many


def _all_layers(model: EncoderModel) -> bool:
    return bool(model.network.config.use_weighted_layer_sum) if model.head is None else model.head.layer_weights is not None


def outputs_folder(model: EncoderModel, cache: Path, accelerator: Accelerator) -> Path:
    """The folder for this encoder's outputs: its name holds a hash of all they depend on besides a clip's samples."""
    settings = {
        "format": FORMAT,
        "kept": "means" if model.head is None else "frames",
        "all_layers": _all_layers(model),
        "frontend": str(model.frontend),
    }
    return cache / f"encoder-outputs-{hash_encoder(model.encoder, settings, accelerator)}"


def hash_encoder(encoder: PreTrainedModel, settings: dict, accelerator: Accelerator) -> str:
    """A hash of an encoder's weights and config, of how it computes, and of further settings."""
    computed = {
        "computed": [accelerator.device.type, accelerator.mixed_precision],
        "config": {key: value for key, value in encoder.config.to_dict().items() if key not in _NO_MATTER},
    }
    hashed = hashlib.blake2b(json.dumps(settings | computed, sort_keys=True, default=str).encode(), digest_size=8)
    for name, tensor in sorted(encoder.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()
