"""Late fusion: what a voice sounds like and what it says, each as one vector, side by side into a small network.

Pooled audio features ⊕ the frozen [CLS] of a text encoder → 256 → GELU → dropout → 128 → GELU → dropout → labels. Without a text encoder
at hand, the words are n-grams in a few dimensions (latent semantic analysis, Deerwester et al. 1990), learnt from the training part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from sklearn.decomposition import TruncatedSVD
from torch import nn
from transformers import PreTrainedModel

from ser.audio import SAMPLE_RATE
from ser.config import FusionConfig, ModelConfig, as_plain
from ser.data.utterance import Utterance
from ser.features import SOURCES
from ser.features.spectral import mfcc
from ser.models.base import SerModel
from ser.models.frames.frames import max_samples
from ser.models.frames.mfcc_cnn import COEFFICIENTS, SPECTRUM
from ser.models.frames.standards import Standard, standard_of
from ser.models.pretrained import quiet
from ser.models.text.ngram_views import NgramViews
from ser.models.text.text_encoder import Tokens, read_encoder
from ser.runtime.errors import UserError

WEIGHTS, ARRAYS, TEXT_ENCODER = "model.safetensors", "words.safetensors", "text_encoder"
LEAST_TEXTS = 2
SOURCE_OF = {"functionals": "voice", "librosa": "librosa", "egemaps": "egemaps", "compare": "compare"}


@dataclass
class NgramWords:
    """n-grams of a text in a few dimensions of equal spread; a text that shares none of them is all zeros."""

    size: int
    views: NgramViews = field(default_factory=lambda: NgramViews(LEAST_TEXTS))
    components: np.ndarray | None = None

    def fit(self, texts: Sequence[str]) -> None:
        """Learn n-grams and dimensions from the training texts."""
        features = self.views.fit_transform(texts)
        svd = TruncatedSVD(min(self.size, min(features.shape) - 1), random_state=0)
        spread = svd.fit_transform(features).std(0)
        self.components = np.zeros((self.size, features.shape[1]))
        self.components[: len(spread)] = svd.components_ / np.maximum(spread, 1e-3)[:, None]

    def prepare(self, clip: Utterance) -> np.ndarray:
        """The clip's text -> float32 (size,)."""
        return (self.views.transform([clip.text]) @ self.components.T)[0].astype(np.float32)

    def collate(self, texts: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`words` (B, size)."""
        return {"words": torch.from_numpy(np.stack(texts))}


@dataclass(frozen=True)
class FusionFrontend:
    """Utterance -> pooled audio features, standardised, and the words as the text side takes them."""

    audio: str
    max_samples: int
    standard: Standard | None
    words: Tokens | NgramWords

    def prepare(self, clip: Utterance) -> tuple[np.ndarray, np.ndarray, bool]:
        """The audio vector (features,), the words, and whether there are any."""
        return self.standard.apply(self.pooled(clip.samples)), self.words.prepare(clip), bool(clip.text)

    def pooled(self, wave: np.ndarray) -> np.ndarray:
        """(T,) float32 -> (features,) float32, before standardising: the mean MFCC over frames, or features of the whole clip."""
        wave = np.asarray(wave, np.float32)[: self.max_samples]
        if self.audio == "mfcc":
            return mfcc(wave, SPECTRUM, COEFFICIENTS).numpy().mean(0)
        return SOURCES[SOURCE_OF[self.audio]].load()(wave)[self.audio]

    def audio_size(self) -> int:
        """How many audio features there are: as many as of a second of noise."""
        return len(self.pooled(np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE)))

    def collate(self, clips: Sequence[tuple[np.ndarray, np.ndarray, bool]]) -> dict[str, torch.Tensor]:
        """`audio` (B, features), `has_text` (B,), and what the words collate to."""
        audio, words, known = zip(*clips, strict=True)
        return {"audio": torch.from_numpy(np.stack(audio)), "has_text": torch.tensor(known), **self.words.collate(words)}


class FusionNetwork(nn.Module):
    """The part that is trained: audio vector ⊕ text vector -> logits."""

    def __init__(self, inputs: int, hidden: Sequence[int], labels: int, dropout: float, text_dropout: float):
        super().__init__()
        self.text_dropout = text_dropout
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], labels))

    def forward(self, audio: torch.Tensor, text: torch.Tensor, has_text: torch.Tensor) -> torch.Tensor:
        """audio (B, A), text (B, T), has_text (B,) -> logits (B, labels). Unknown words are zeros, as some are made in training."""
        known = has_text.to(text.dtype)
        if self.training and self.text_dropout:
            known = known * (torch.rand(len(known), device=known.device) >= self.text_dropout)
        return self.layers(torch.cat([audio, text * known[:, None]], 1)).float()


class FusionModel(SerModel):
    """Both sides and the network over them. The text side keeps its weights."""

    takes = "audio and text"

    def __init__(
        self, config: FusionConfig, label_names: Sequence[str], max_seconds: float, dropout: float, tokens: Tokens | None, encoder
    ):
        super().__init__("fusion", label_names, max_seconds, exact_length=False)
        self.config = config
        self.encoder: PreTrainedModel | None = encoder
        if encoder is not None:
            encoder.requires_grad_(False)
        self.frontend = FusionFrontend(config.audio, max_samples(max_seconds), None, tokens or NgramWords(config.ngram_size))
        inputs = self.frontend.audio_size() + (config.ngram_size if encoder is None else encoder.config.hidden_size)
        self.network = FusionNetwork(inputs, as_plain(config.hidden), len(self.label_names), dropout, config.text_dropout)

    def forward(self, audio: torch.Tensor, has_text: torch.Tensor, **words: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        return self.network(audio, self.text_vectors(**words), has_text)

    def text_vectors(self, words: torch.Tensor | None = None, **tokens: torch.Tensor) -> torch.Tensor:
        """(B, size): n-grams as they are, or the encoder's output at the first token."""
        if self.encoder is None:
            return words
        with torch.no_grad():
            return self.encoder(**tokens).last_hidden_state[:, 0].float()

    def frozen(self) -> Sequence[nn.Module]:
        """The text encoder."""
        return [] if self.encoder is None else [self.encoder]

    def fit_statistics(self, clips: Iterable[Utterance], labels: np.ndarray) -> None:
        """Spread of the audio features, and the n-grams where there is no text encoder."""
        texts, vectors = [], []
        for clip in clips:
            vectors.append(self.frontend.pooled(clip.samples))
            texts += [clip.text] * bool(clip.text)
        if not texts:
            raise UserError("not one training clip of this fold has a transcript, so there is nothing to fuse. Train a model of audio.")
        if isinstance(self.frontend.words, NgramWords):
            self.frontend.words.fit(texts)
        self.frontend = replace(self.frontend, standard=standard_of(vector[None] for vector in vectors))

    def _write(self, folder: Path) -> dict:
        save_file({name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}, folder / WEIGHTS)
        arrays = {"audio.mean": self.frontend.standard.mean, "audio.deviation": self.frontend.standard.deviation}
        words = self.frontend.words
        if isinstance(words, NgramWords):
            arrays |= {"components": words.components, **words.views.write(folder)}
        else:
            with quiet():
                self.encoder.save_pretrained(folder / TEXT_ENCODER)
                words.tokenizer.save_pretrained(folder / TEXT_ENCODER)
        save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
        return {"settings": as_plain(self.config)}


class FusionHead(SerModel):
    """The trained part by itself, on vectors that are computed once: the same modules, what is trained here is trained there."""

    def __init__(self, model: FusionModel):
        super().__init__("fusion_head", model.label_names, model.max_seconds, exact_length=False)
        self.frontend = VectorFrontend()
        self.network = model.network

    def forward(self, **vectors: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_labels) from what the frontend's `collate` returns."""
        return self.network(**vectors)

    def _write(self, folder: Path) -> dict:
        raise TypeError("a head is saved with the model it belongs to")


class VectorFrontend:
    """Vectors are ready as they come."""

    def prepare(self, vectors: tuple[np.ndarray, np.ndarray, bool]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Nothing is to be done."""
        return vectors

    def collate(self, clips: Sequence[tuple[np.ndarray, np.ndarray, bool]]) -> dict[str, torch.Tensor]:
        """`audio` (B, A), `text` (B, T) and `has_text` (B,)."""
        audio, text, known = zip(*clips, strict=True)
        return {"audio": torch.from_numpy(np.stack(audio)), "text": torch.from_numpy(np.stack(text)), "has_text": torch.tensor(known)}


def build(config: ModelConfig, label_names: tuple[str, ...], max_seconds: float) -> FusionModel:
    """A network with new weights over frozen sides; see `ser.models.registry.build_model`."""
    own = config.fusion
    encoder, tokens = read_encoder(own.text_encoder, own.max_tokens) if own.text == "encoder" else (None, None)
    return FusionModel(own, label_names, max_seconds, config.head_dropout, tokens, encoder)


def load(folder: Path, card: dict) -> FusionModel:
    """Open what `FusionModel.save` wrote. Raises UserError when parts are missing or don't fit."""
    try:
        own = FusionConfig(**card["settings"])
        encoder, tokens = read_encoder(str(folder / TEXT_ENCODER), own.max_tokens) if own.text == "encoder" else (None, None)
        model = FusionModel(own, card["label_names"], card["max_seconds"], 0.0, tokens, encoder)
        arrays = load_arrays(folder / ARRAYS)
        if isinstance(model.frontend.words, NgramWords):
            model.frontend.words.components = arrays["components"]
            model.frontend.words.views.read(folder, arrays)
            model.frontend.words.prepare(Utterance(text="가"))
        model.frontend = replace(model.frontend, standard=Standard(arrays["audio.mean"], arrays["audio.deviation"]))
        model.network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in many ways; nothing but data is read
        raise UserError(f"{folder}: not a whole model ({type(error).__name__}: {error}). Copy the folder again.") from None
    return model
