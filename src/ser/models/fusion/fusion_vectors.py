"""Both vectors of each utterance, computed once for a fold; what a text encoder says of a text is kept on disk for all folds and runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from ser.data.clip_cache import CLIPS_PER_FILE, find_clips, read_clips, write_clips
from ser.data.hashes import text_hash
from ser.data.inputs import Store
from ser.data.utterance import Utterance
from ser.models.encoder.frozen_outputs import hash_encoder
from ser.models.fusion.fusion import FusionModel
from ser.runtime.progress import ProgressBar

FORMAT = 1  # raise it when what is kept of a text changes


class VectorStore:
    """(audio vector, text vector, whether there is a text) by the rows of the store they were computed from."""

    def __init__(self, store: Store, vectors: dict[int, tuple[np.ndarray, np.ndarray, bool]]):
        self.vectors, self.frames, self.longest = vectors, store.frames, store.longest

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray, bool]:
        return self.vectors[row]


def fusion_vectors(
    model: FusionModel,
    store: Store,
    rows: np.ndarray,
    cache: Path,
    accelerator: Accelerator,
    title: str,
    after_clip: Callable[[], None] = lambda: None,
) -> VectorStore:
    """The vectors of the given (usable) rows. after_clip: may raise to end it; texts that are done stay done."""
    texts = [store.texts[row] for row in rows.tolist()]
    if model.encoder is None:
        words = {text: model.frontend.words.prepare(Utterance(text=text)) for text in set(texts)}
    else:
        words = _encoded(model, sorted(set(texts)), cache, accelerator, title, after_clip)
    vectors = {}
    for row, text in ProgressBar(zip(rows.tolist(), texts, strict=True), title, len(rows)):
        audio = model.frontend.standard.apply(model.frontend.pooled(store[row].samples))
        vectors[row] = audio.astype(np.float32), words[text], bool(text)
        after_clip()
    return VectorStore(store, vectors)


@torch.inference_mode()
def _encoded(
    model: FusionModel, texts: list[str], cache: Path, accelerator: Accelerator, title: str, after_file: Callable[[], None]
) -> dict[str, np.ndarray]:
    """The encoder's vector of each text, each computed alone, so that it depends on no neighbour and on no padding."""
    tokens = model.frontend.words
    settings = {"format": FORMAT, "tokenizer": tokens.tokenizer.backend_tokenizer.to_str(), "max_tokens": tokens.max_tokens}
    folder = cache / f"text-outputs-{hash_encoder(model.encoder, settings, accelerator)}"
    names = {text: text_hash(text or " ") for text in texts}
    files = find_clips(folder, list(names.values()))
    missing = [text for text in texts if names[text] not in files]
    model.to(accelerator.device).eval()
    with ProgressBar(total=len(missing), unit="text", what=f"text vectors of {title}") as bar:
        for start in range(0, len(missing), CLIPS_PER_FILE):
            part = missing[start : start + CLIPS_PER_FILE]
            encoded = {}
            for text in part:
                batch = {
                    name: value.to(accelerator.device) for name, value in tokens.collate([tokens.prepare(Utterance(text=text))]).items()
                }
                with accelerator.autocast():
                    encoded[names[text]] = {"vector": model.text_vectors(**batch)[0].cpu().numpy()}
            write_clips(folder, encoded)
            bar.update(len(part))
            after_file()
    files |= find_clips(folder, [names[text] for text in missing])
    vectors = read_clips({name: files[name] for name in names.values()})
    return {text: vectors[name]["vector"] for text, name in names.items()}
