"""What the frozen part of an encoder makes of each clip, computed once and kept on disk, for a head or the last layers to be trained on.

An epoch then costs what is trained. Kept is no more than that needs: where a head pools over time before anything else, what it
pools of each layer; where it attends to frames, the frames; for trained layers (`below`), the frames that go into the first of them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from transformers import PreTrainedModel

from ser.data.batches import prediction_batches
from ser.data.cache_folder import in_cache
from ser.data.clip_cache import CLIPS_PER_FILE, file_of, find_clips, read_clips, write_clips
from ser.data.inputs import Store
from ser.models.base import SerModel
from ser.models.encoder.encoder import EncoderModel
from ser.models.encoder.freezing import final_norm, transformer
from ser.models.encoder.heads import PooledHead
from ser.models.encoder.lora import without_adapters
from ser.models.encoder.states import hidden_states, last_state
from ser.runtime.beside_each_other import beside_or_alone
from ser.runtime.errors import UserError
from ser.runtime.files import locked
from ser.runtime.packed_weights import packed_weights
from ser.runtime.progress import ProgressBar

FORMAT = 5  # raise it when what is kept of a clip changes
GPU_BATCH = 16
WAIT_SECONDS = 0.2  # between two looks whether another process is done
_OF_THE_HEAD = ("id2label", "label2id", "problem_type", "classifier_proj_size", "use_weighted_layer_sum")
_NO_MATTER = ("_name_or_path", "transformers_version", *_OF_THE_HEAD)


class OutputStore:
    """Encoder outputs of the clips of a store, by the same rows: (layers, size), or (layers, frames, size) for a head on frames."""

    def __init__(self, store: Store, files: dict[str, Path]):
        self.hashes = store.report["audio_hash"].tolist()
        self.frames, self.files, self.longest, self.groups = store.frames, files, store.longest, store.groups

    def __getitem__(self, row: int) -> np.ndarray:
        return self.rows(np.array([row]))[0]

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Outputs of pooling heads, (clips, layers, size)."""
        hashes = [self.hashes[row] for row in rows]
        try:
            clips = read_clips({each: self.files[each] for each in hashes})
        except (OSError, SafetensorError):
            folder = self.files[hashes[0]].parent
            raise UserError(f"{folder}: what was kept of the clips is gone or damaged. The same command computes it again.") from None
        return np.stack([clips[each]["outputs"] for each in hashes]).astype(np.float32, copy=False)


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
    """The head of an encoder model, the same module: what is trained here is trained there."""

    def __init__(self, model: EncoderModel):
        super().__init__("frozen_head", model.label_names, model.max_seconds, exact_length=False)
        self.frontend = OutputFrontend()
        self.head = model.head

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        if isinstance(self.head, PooledHead):
            return self.head.classify(outputs).float()
        return self.head(outputs.unbind(1), mask).float()

    def _write(self, folder: Path) -> dict:
        raise TypeError("a head is saved with its encoder, by the model it belongs to")


class LastLayers(SerModel):
    """The last layers of an encoder model and its head, the same modules, on the frames that go into the first of these layers."""

    def __init__(self, model: EncoderModel, first: int):
        """first: the lowest layer that is trained, 0 being the encoder's lowest. The encoder's layers have to be plain ones."""
        super().__init__("last_layers", model.label_names, model.max_seconds, exact_length=False)
        self.frontend, self.config = OutputFrontend(), model.encoder.config
        self.rests_on = {"the encoder's frozen layers": _hash_weights(model.encoder)}
        self.layers, self.norm, self.head = transformer(model.encoder).layers[first:], final_norm(model.encoder), model.head

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        state = last_state(self.config, self.layers, self.norm, outputs[:, 0], mask)
        return self.head((state,), mask).float()

    def is_head(self, name: str) -> bool:
        """As in the encoder model."""
        return name.startswith("head.")

    def _write(self, folder: Path) -> dict:
        raise TypeError("the last layers are saved with their encoder, by the model they belong to")


def cached_outputs(
    model: EncoderModel,
    store: Store,
    rows: np.ndarray,
    folder: Path,
    accelerator: Accelerator,
    title: str = "clips",
    after_file: Callable[[], None] = lambda: None,
    below: int | None = None,
) -> OutputStore:
    """The encoder's outputs of the given (usable) rows; what isn't in the folder (of `outputs_folder`) yet is computed.

    below: the layer (0 is the lowest) whose input is kept instead, frame by frame. after_file: called whenever some more of it is on
    disk, and while another process is at the rest; may raise to leave it for the next time.
    """
    hashes = store.report["audio_hash"].to_numpy()
    files = find_clips(folder, hashes[rows].tolist())
    missing = {hashes[row]: row for row in rows if hashes[row] not in files}  # equal audio once
    if missing:
        model.to(accelerator.device).eval()
        by_length = np.array(sorted(missing.values(), key=lambda row: (store.frames[row], hashes[row])))
        what = "encoder outputs" if below is None else f"outputs of the {below} lower layers"
        parts = [by_length[start : start + CLIPS_PER_FILE] for start in range(0, len(by_length), CLIPS_PER_FILE)]
        with ProgressBar(total=len(missing), what=f"{what} of {title}") as bar:
            while parts:
                left = []
                for part in parts:
                    with _claimed(folder, hashes[part]) as state:
                        if state == "mine":
                            write_clips(folder, compute_outputs(model, store, part, accelerator, below))
                    if state == "taken":  # left to the process of another fold, unless that ends before it is done
                        left.append(part)
                    else:
                        bar.update(len(part))
                    after_file()
                if len(left) == len(parts):
                    time.sleep(WAIT_SECONDS)
                parts = left
        files |= find_clips(folder, missing)
    return OutputStore(store, files)


@contextmanager
def _claimed(folder: Path, hashes: Sequence[str]) -> Iterator[Literal["mine", "taken", "there"]]:
    """Whether the file of these clips is this process's to make, another one is at it, or it is there."""
    path = file_of(folder, hashes)
    lock = path.with_suffix(".lock")
    with in_cache(folder), locked(lock, wait=False) as held:
        try:
            yield "taken" if not held else "there" if path.exists() else "mine"
        finally:
            if held:
                lock.unlink(missing_ok=True)


@torch.no_grad()
def compute_outputs(
    model: EncoderModel, store: Store, rows: np.ndarray, accelerator: Accelerator, below: int | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """What is kept of the clips of these rows, by the hash of their sound; below: as in `cached_outputs`.

    On a CPU each clip goes alone, some beside each other: quicker, and an interruption can't change a batch, and with it the last digit.
    """
    hashes, on_cpu = store.report["audio_hash"], accelerator.device.type == "cpu"

    def hear(batch_rows: list[int]) -> dict[str, dict[str, np.ndarray]]:
        batch = model.frontend.collate([model.frontend.prepare(store[row]) for row in batch_rows])
        batch = {name: value.to(accelerator.device) for name, value in batch.items()}
        with accelerator.autocast():
            states, mask = hidden_states(model.encoder, batch, model.head.every_layer or below is not None)
        kept = {}
        for place, row in enumerate(batch_rows):
            own, real = tuple(state[place : place + 1] for state in states), None if mask is None else mask[place : place + 1]
            kept[hashes[row]] = {"outputs": _pooled(model, own, real) if below is None else _frames(own[below], real).cpu().numpy()}
        return kept

    batches = prediction_batches(store.frames, rows, 1 if on_cpu else GPU_BATCH, model.exact_length)
    with packed_weights(model.encoder, accelerator.mixed_precision):
        heard = beside_or_alone(hear, batches) if on_cpu else list(map(hear, batches))
    return {name: clip for kept in heard for name, clip in kept.items()}


def _pooled(model: EncoderModel, states: tuple[torch.Tensor, ...], mask: torch.Tensor | None) -> np.ndarray:
    if isinstance(model.head, PooledHead):
        return model.head.pool(states, mask)[0].cpu().numpy()
    return _frames(torch.cat(states), mask).half().cpu().numpy()  # frames of all layers are many


def _frames(states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The real frames of one clip, (layers, frames, size)."""
    return (states if mask is None else states[:, mask[0]]).float()


def outputs_folder(model: EncoderModel, cache: Path, accelerator: Accelerator, below: int | None = None) -> Path:
    """The folder for this encoder's outputs: its name holds a hash of all they depend on besides a clip's samples."""
    head = model.head
    settings = {
        "format": FORMAT,
        "kept": ("means and deviations" if head.deviation else "means") if isinstance(head, PooledHead) else "frames",
        "all_layers": head.every_layer,
        "frontend": str(model.frontend),
    }
    if below is not None:
        settings |= {"kept": f"frames into layer {below}", "all_layers": False}
    return cache / f"encoder-outputs-{hash_encoder(without_adapters(model.encoder), settings, accelerator)}"


def hash_encoder(encoder: PreTrainedModel, settings: dict, accelerator: Accelerator) -> str:
    """A hash of an encoder's weights and config, of how it computes, and of further settings."""
    computed = {
        "computed": [accelerator.device.type, accelerator.mixed_precision],
        "config": {key: value for key, value in encoder.config.to_dict().items() if key not in _NO_MATTER},
    }
    return _hash_weights(encoder, json.dumps(settings | computed, sort_keys=True, default=str).encode())


def _hash_weights(encoder: PreTrainedModel, besides: bytes = b"") -> str:
    hashed = hashlib.blake2b(besides, digest_size=8)
    for name, tensor in sorted(encoder.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()
