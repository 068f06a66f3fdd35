"""A transformers config from the keys of `model.from_scratch`: an encoder with random weights, no network needed."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from ser.runtime.errors import UserError


def scratch_config(keys: dict[str, Any], model_types: tuple[str, ...]) -> PreTrainedConfig:
    """The config of one of `model_types`, e.g. {"model_type": "wav2vec2", "hidden_size": 64, ...}.

    Raises UserError naming an unknown key with its neighbours, or the value that transformers refuses.
    """
    given = dict(keys)
    model_type = given.pop("model_type", None)
    if model_type not in model_types:
        raise UserError(f"model.from_scratch.model_type: given {model_type!r}; allowed are {', '.join(model_types)}.")
    config_class = CONFIG_MAPPING[model_type]
    known = {field.name for field in dataclasses.fields(config_class)} | set(config_class.attribute_map)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 3, 0.6)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"See {config_class.__name__} in transformers for its keys."
            raise UserError(f"model.from_scratch.{key}: no such key of {model_type}. {hint}")
    try:
        return config_class(**given)
    except Exception as error:  # each config class has checks and exceptions of its own
        raise UserError(f"model.from_scratch: {_short(error)}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())
