"""What lies between a clip and a network's inputs, as JSON values, so that an exported graph is whole by itself."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from ser.data.inputs import Input
from ser.data.utterance import Utterance
from ser.features.spectral import Spectrum
from ser.models.base import Frontend
from ser.models.encoder.frontends import LogMel, Waveform
from ser.models.frames.frames import FrameFrontend
from ser.models.frames.standards import Standard, Standards
from ser.models.fusion.fusion import FusionFrontend, NgramWords
from ser.models.text.text_encoder import Tokens
from ser.runtime.errors import UserError

TOKENS_A_SECOND = 4  # of the texts that examples have


def frontend_as_json(frontend: Frontend) -> dict:
    """Everything that lies between a wave at 16 kHz, or a text, and the graph, as JSON values."""
    if isinstance(frontend, Waveform):
        return {"kind": "waveform", **asdict(frontend)}
    if isinstance(frontend, LogMel):
        return {"kind": "whisper", "extractor": json.loads(frontend.extractor.to_json_string()), "own_length": frontend.own_length}
    if isinstance(frontend, FrameFrontend):
        plain = asdict(replace(frontend, standards=None))
        return {"kind": "frames", **plain, "standards": frontend.standards.as_json()}
    if isinstance(frontend, Tokens):
        return {"kind": "tokens", **_tokens_as_json(frontend)}
    if isinstance(frontend, FusionFrontend):
        return {"kind": "fusion", **_fusion_as_json(frontend)}
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
    if value["kind"] == "tokens":
        return _tokens_from_json(settings)
    if value["kind"] == "fusion":
        return _fusion_from_json(settings)
    raise ValueError(f"unknown preprocessing {value['kind']!r}")


def takes_of(frontend: Frontend) -> Input:
    """What of a clip a frontend turns into inputs."""
    return "text" if isinstance(frontend, Tokens) else "audio and text" if isinstance(frontend, FusionFrontend) else "audio"


def example_clips(frontend: Frontend, seconds: Sequence[float], seed: int) -> list:
    """Prepared clips of noise that swells, and of words that mean nothing, one for each length: what a graph is traced and compared on."""
    rng = np.random.default_rng(seed)
    clips = []
    for length in seconds:
        time = np.arange(max(1, round(16_000 * length))) / 16_000
        wave = rng.normal(0, 0.1, len(time)) * (0.2 + np.sin(2 * np.pi * rng.uniform(0.5, 4) * time) ** 2)
        text = "" if takes_of(frontend) == "audio" else _example_text(frontend, max(1, round(TOKENS_A_SECOND * length)), rng)
        clips.append(frontend.prepare(Utterance(wave.astype(np.float32), text)))
    return clips


def _example_text(frontend: Tokens | FusionFrontend, count: int, rng: np.random.Generator) -> str:
    words = frontend.words if isinstance(frontend, FusionFrontend) else frontend
    if isinstance(words, NgramWords):
        known = words.views.vectorizers["across_words"].get_feature_names_out()
        return " ".join(rng.choice(known, count))
    return words.tokenizer.decode(rng.integers(len(words.tokenizer), size=count), skip_special_tokens=True)


def _tokens_as_json(tokens: Tokens) -> dict:
    tokenizer = tokens.tokenizer
    return {
        "tokenizer": json.loads(tokenizer.backend_tokenizer.to_str()),
        "pad_token": tokenizer.pad_token,
        "max_tokens": tokens.max_tokens,
    }


def _tokens_from_json(value: Mapping) -> Tokens:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(json.dumps(value["tokenizer"]))
    return Tokens(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=value["pad_token"]), int(value["max_tokens"]))


def _fusion_as_json(frontend: FusionFrontend) -> dict:
    words = frontend.words
    if isinstance(words, NgramWords):
        arrays = {"components": words.components.astype(np.float32), **words.views.arrays()}
        said = {"kind": "ngrams", "size": words.size, "vocabulary": words.views.vocabulary(), "arrays": _packed(arrays)}
    else:
        said = {"kind": "tokens", **_tokens_as_json(words)}
    standard = {"mean": frontend.standard.mean.tolist(), "deviation": frontend.standard.deviation.tolist()}
    return {"audio": frontend.audio, "max_samples": frontend.max_samples, "standard": standard, "words": said}


def _fusion_from_json(value: Mapping) -> FusionFrontend:
    standard = Standard(*(np.array(value["standard"][name], np.float32) for name in ("mean", "deviation")))
    said = value["words"]
    if said["kind"] == "tokens":
        words = _tokens_from_json(said)
    else:
        words, arrays = NgramWords(said["size"]), _unpacked(said["arrays"])
        words.components = arrays["components"]
        words.views.take_in(said["vocabulary"], arrays)
    return FusionFrontend(value["audio"], value["max_samples"], standard, words)


def _packed(arrays: Mapping[str, np.ndarray]) -> str:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _unpacked(text: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
