"""Every key, its default (changed here and nowhere else), its help text and its check: a dataclass for each section, `Config` for the
whole."""

from ser.config.augment import AugmentConfig, GainConfig, NoiseConfig
from ser.config.data import DataConfig, FoldsConfig
from ser.config.experiment import Config
from ser.config.model import (
    ClassicalConfig,
    FusionConfig,
    LogmelCrnnConfig,
    MfccCnnConfig,
    MfccLstmDeltaConfig,
    ModelConfig,
    TextEncoderConfig,
    TextNgramsConfig,
)
from ser.config.outputs import output_file, output_folder
from ser.config.parsing import (
    add_list,
    as_plain,
    build_parser,
    flat,
    key_words,
    load_config,
    parse,
    read_config_words,
    read_words,
    save_config,
)
from ser.config.speech import SpeechConfig
from ser.config.subtitles import SubtitlesConfig
from ser.config.training import RunConfig, TrackingConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "ClassicalConfig",
    "Config",
    "DataConfig",
    "FoldsConfig",
    "FusionConfig",
    "GainConfig",
    "LogmelCrnnConfig",
    "MfccCnnConfig",
    "MfccLstmDeltaConfig",
    "ModelConfig",
    "NoiseConfig",
    "RunConfig",
    "SpeechConfig",
    "SubtitlesConfig",
    "TextEncoderConfig",
    "TextNgramsConfig",
    "TrackingConfig",
    "TrainConfig",
    "add_list",
    "as_plain",
    "build_parser",
    "flat",
    "key_words",
    "load_config",
    "output_file",
    "output_folder",
    "parse",
    "read_config_words",
    "read_words",
    "save_config",
]
