"""The feature extractors that checkpoints come with: read, or the usual one of their kind."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ser.audio import SAMPLE_RATE
from ser.models.encoder.masking import AST, takes_mask
from ser.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, SequenceFeatureExtractor, WhisperFeatureExtractor

log = logging.getLogger(__name__)

WHISPER_POSITIONS_PER_SECOND = 50  # a mel frame every 10 ms, halved by the second convolution


def read_extractor(folder: Path, config: PreTrainedConfig) -> SequenceFeatureExtractor:
    """The checkpoint's feature extractor; where it ships none, the usual one of its kind, with a message.

    Raises UserError for an extractor of another kind, or another sampling rate than 16 kHz.
    """
    from transformers import AutoFeatureExtractor

    wanted = default_extractor(config)
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        settings = f"do_normalize={wanted.do_normalize}" if hasattr(config, "conv_kernel") else "the usual mel filters"
        log.warning("%s has no preprocessor_config.json: assuming 16 kHz, %s.", folder, settings)
        return wanted
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder}/preprocessor_config.json can't be used: {error}") from None
    if type(extractor) is not type(wanted):
        raise UserError(
            f"{folder}/preprocessor_config.json describes {type(extractor).__name__}; "
            f"a {config.model_type} encoder needs {type(wanted).__name__}."
        )
    if config.model_type == AST and (extractor.max_length, extractor.num_mel_bins) != (config.max_length, config.num_mel_bins):
        raise UserError(
            f"{folder}: preprocessor_config.json makes {extractor.max_length} frames of {extractor.num_mel_bins} mel bins, "
            f"config.json wants {config.max_length} of {config.num_mel_bins}. Take both from the same checkpoint."
        )
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{folder} wants audio at {extractor.sampling_rate} Hz; this project works at {SAMPLE_RATE} Hz. Choose another checkpoint."
        )
    for name in ("auto_map", "max_samples"):  # for the code beside a model saved here, as `read_config` says
        vars(extractor).pop(name, None)
    return extractor


def default_extractor(config: PreTrainedConfig) -> SequenceFeatureExtractor:
    """The feature extractor a checkpoint of this kind usually ships with."""
    from transformers import ASTFeatureExtractor, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    if config.model_type == AST:
        return ASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    if config.model_type == "wav2vec2-bert":
        return SeamlessM4TFeatureExtractor(num_mel_bins=config.feature_projection_input_dim // 2)
    if config.model_type == "whisper":
        return WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    # Base models with group norm differ in do_normalize; the large ones with layer norm all have it.
    return Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=takes_mask(config))


def whisper_seconds(config: PreTrainedConfig, max_seconds: float) -> int:
    """Whole seconds a Whisper encoder will hear: no more than it has positions for, no more than the clips need."""
    available = config.max_source_positions // WHISPER_POSITIONS_PER_SECOND
    if available < 1:
        raise UserError(
            f"max_source_positions: given {config.max_source_positions}; a Whisper encoder needs at least "
            f"{WHISPER_POSITIONS_PER_SECOND}, which is one second."
        )
    if available < max_seconds:
        log.warning(
            "this Whisper encoder has positions for %d s: longer clips are cut there (data.max_seconds %g).", available, max_seconds
        )
    return min(available, math.ceil(max_seconds))


def whisper_extractor(extractor: WhisperFeatureExtractor, seconds: int) -> WhisperFeatureExtractor:
    """A copy of the extractor that pads to `seconds` instead of its 30 s."""
    from transformers import WhisperFeatureExtractor

    settings = {key: value for key, value in extractor.to_dict().items() if key not in ("n_samples", "nb_max_frames")}
    return WhisperFeatureExtractor(**settings | {"chunk_length": seconds})
