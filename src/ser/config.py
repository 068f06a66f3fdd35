"""Every key, its default, its help text and its check, in one place.

A run is described by the dataclasses below. YAML files (`--config`, several may be layered) override the
defaults, the command line (`--train.epochs 3`) overrides the files.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, get_loader, set_loader, set_parsing_settings
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    restricted_number_type,
)

from ser.errors import UserError
from ser.files import write_text

set_parsing_settings(docstring_parse_attribute_docstrings=True)


MOST_VALUES = 10_000
_load_yaml = get_loader("yaml")


def _load_plain(text: str) -> Any:
    """YAML without the keys by which jsonargparse imports and calls what a config names: a stranger's must not run code."""
    value = _load_yaml(text)
    waiting, seen = [value], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:  # a few lines of aliases can unfold to billions, or lead round in a circle
            raise UserError(f"a config of more than {MOST_VALUES} values can't be meant.")
        if isinstance(part, dict) and "class_path" in part:
            raise UserError("class_path is no key of a config: it holds plain values, none of which can name code to run.")
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    sections = {part.name for part in dataclasses.fields(Config)}
    if isinstance(value, dict) and (wrong := [name for name in value if name in sections and isinstance(value[name], str)]):
        # jsonargparse would take the text for a class and import its module.
        raise UserError(f"{wrong[0]}: given {value[wrong[0]]!r}; it is a section and must hold keys, e.g. {wrong[0]}: {{key: value}}.")
    return value


set_loader("yaml", _load_plain, (yaml.YAMLError,))

# Not Any: jsonargparse would import and call what a value of that type names.
PlainValue = bool | int | float | str | list[int] | list[float] | list[str] | None
FoldCount = restricted_number_type("FoldCount", int, (">=", 2))
HalfOpenUnit = restricted_number_type("HalfOpenUnit", float, [(">=", 0), ("<", 1)])
Decibels = restricted_number_type("Decibels", float, [(">=", -80), ("<=", 80)])
Amplitude = restricted_number_type("Amplitude", float, [(">", 0), ("<=", 1)])
# Slower than 0.67 would make a clip more than half as long again; below 1/2 the stretcher also draws from its own generator.
StretchRate = restricted_number_type("StretchRate", float, [(">=", 0.67), ("<=", 1.5)])
Semitones = restricted_number_type("Semitones", float, [(">=", -12), ("<=", 12)])
CenterHz = restricted_number_type("CenterHz", float, [(">=", 50), ("<=", 7000)])
Reflections = restricted_number_type("Reflections", int, [(">=", 1), ("<=", 12)])
ClippedPercent = restricted_number_type("ClippedPercent", int, [(">=", 0), ("<=", 90)])


@dataclass
class DataConfig:
    """Data: which clips, and what to do with those that can't be used."""

    root: str = "input"
    """A competition folder (train.csv, test.csv, sample_submission.csv), a folder with one subfolder per emotion, or a CSV."""
    labels: str = "auto"
    """Label set: auto (integers mean competition6, names mean those found), or a set the registry knows, e.g. korean15."""
    speakers: str | None = None
    """CSV `id,speaker`, with `gender` where known. Without it, <root>/train_speakers.csv is used when it is there."""
    max_seconds: PositiveFloat = 15.0
    """Longer clips are cut to their first seconds; the cut is reported."""
    min_seconds: PositiveFloat = 0.1
    """Shorter clips are unusable (status too_short)."""
    on_bad_audio: Literal["stop", "drop"] = "stop"
    """When training clips are unusable: stop with the list, or go on without them. Test clips always keep their row."""
    allow_absolute_paths: bool = False
    """Let the CSV name files outside its own folder. Off, because a stranger's CSV could name any file."""
    cache: str = "outputs/cache"
    """Folder of the packed clip store: every file is decoded and resampled once, then shared by folds, epochs and runs."""


@dataclass
class FoldsConfig:
    """Cross-validation: how the training clips are split."""

    n: FoldCount = 5
    """Number of folds."""
    split: Literal["auto", "stratified", "speaker"] = "auto"
    """stratified by label; speaker keeps each speaker in one fold (and stratifies); auto takes speaker when speakers are known."""
    file: str | None = None
    """Read `id,fold` from this CSV instead of making folds, e.g. to blend runs over one split."""


@dataclass
class ClassicalConfig:
    """Features of whole clips and a scikit-learn classifier. It is fitted in one go: the sections train and augment aren't read."""

    features: list[Literal["functionals", "aligned", "librosa", "egemaps", "compare"]] = field(default_factory=lambda: ["functionals"])
    """functionals: 2736 statistics of pitch, spectrum and rhythm. aligned: the same frames laid over one template; for clips that all say
    nearly the same text. librosa: plain means and deviations. egemaps, compare: openSMILE's sets (requirements-opensmile.txt; research
    only). Several are weighed equally."""
    classifier: Literal["kernel_ridge", "svm", "svm_rbf", "logistic"] = "kernel_ridge"
    """kernel_ridge: ridge regression with a Gaussian kernel. svm: linear support vector machine. svm_rbf: with a Gaussian kernel."""
    alpha: PositiveFloat = 0.07
    """Regularisation of kernel_ridge; more is smoother."""
    c: PositiveFloat = 10.0
    """Inverse regularisation of svm, svm_rbf and logistic; less is smoother."""
    speaker_normalization: Literal["none", "known", "found"] = "none"
    """Features less their speaker's mean, by the speaker's spread. known: speakers by the names given (clips without one: all voices).
    found: speakers of the clips to predict are found by clustering their voices together with those of the training clips, without any
    labels. That is transductive: it uses the audio of all clips predicted together (validation or test). Needs the speakers of the
    training clips."""

    def __post_init__(self) -> None:
        if not self.features or len(set(self.features)) < len(self.features):
            raise UserError(f"model.classical.features: given {self.features}; name at least one, each once.")


@dataclass
class MfccCnnConfig:
    """MFCC(40) and a 2-D convolutional network."""

    channels: list[PositiveInt] = field(default_factory=lambda: [16, 32, 64, 128])
    """Channels of each block; every block halves time and coefficients."""
    dropout: HalfOpenUnit = 0.2
    """Dropout of whole channels after each block."""


@dataclass
class LogmelCrnnConfig:
    """Log-mel spectrogram, a 2-D convolutional network and a bidirectional GRU over its frames."""

    channels: list[PositiveInt] = field(default_factory=lambda: [16, 32, 64, 64])
    """Channels of each block; every block halves the mel bands, the first two halve time."""
    hidden: PositiveInt = 64
    """Units of the GRU, each direction."""
    dropout: HalfOpenUnit = 0.2
    """Dropout of whole channels after each block."""


@dataclass
class MfccLstmDeltaConfig:
    """13 MFCC of up to 100 frames as differences to a neutral voice, Conv1D and a bidirectional LSTM."""

    baseline: Literal["pooled", "gender", "speaker"] = "pooled"
    """Whose neutral clips a clip is compared with: everybody's, its gender's (`data.speakers` with a column gender), its speaker's."""
    channels: PositiveInt = 64
    """Channels of the convolutions."""
    hidden: PositiveInt = 64
    """Units of the LSTM, each direction."""
    dropout: HalfOpenUnit = 0.3
    """Dropout between convolutions and LSTM."""


@dataclass
class ModelConfig:
    """Model: which network, and which parts of it are trained."""

    kind: Literal["encoder", "mfcc_cnn", "logmel_crnn", "mfcc_lstm_delta", "classical"] = "encoder"
    """encoder: a transformers audio encoder with a classification head. mfcc_cnn, logmel_crnn, mfcc_lstm_delta: networks on spectral
    features, from scratch. classical: features of whole clips and scikit-learn."""
    name: str = "facebook/wav2vec2-base"
    """Hub name or local folder of any transformers audio encoder (Wav2Vec2, HuBERT, WavLM, data2vec-audio, Whisper, ...)."""
    from_scratch: dict[str, PlainValue] | None = None
    """Build the network from these transformers config keys (model_type and sizes) with random weights; needs no network."""
    pooling: Literal["mean", "attentive"] = "mean"
    """mean: the hub's own head (loads in transformers' pipeline). attentive: attentive statistics (loads through ser)."""
    layer_weights: bool = False
    """Learn a weighted sum over all hidden layers instead of using the last one."""
    freeze: Literal["none", "feature_encoder", "encoder"] = "feature_encoder"
    """Which part keeps its weights: nothing, the convolutional feature encoder, or the whole encoder."""
    train_last_layers: PositiveInt | None = None
    """Train only this many of the last transformer layers (and the head)."""
    layer_drop: ClosedUnitInterval = 0.0
    """Probability of skipping a transformer layer in training."""
    mask_time_prob: ClosedUnitInterval = 0.05
    """SpecAugment: share of time steps masked in training."""
    mask_feature_prob: ClosedUnitInterval = 0.0
    """SpecAugment: share of feature channels masked in training."""
    head_dropout: HalfOpenUnit = 0.1
    """Dropout before the last linear layer."""
    gradient_checkpointing: bool = False
    """Trade a third of the speed for much less memory."""
    mfcc_cnn: MfccCnnConfig = field(default_factory=MfccCnnConfig)
    logmel_crnn: LogmelCrnnConfig = field(default_factory=LogmelCrnnConfig)
    mfcc_lstm_delta: MfccLstmDeltaConfig = field(default_factory=MfccLstmDeltaConfig)
    classical: ClassicalConfig = field(default_factory=ClassicalConfig)


@dataclass
class TrainConfig:
    """Training: the loop."""

    epochs: PositiveInt = 10
    """Passes over the training clips."""
    batch_size: PositiveInt = 8
    """Clips in one forward pass."""
    accumulation: PositiveInt = 1
    """Forward passes per optimizer step; the effective batch is batch_size times this."""
    eval_batch_size: PositiveInt = 16
    """Clips in one forward pass without gradients."""
    learning_rate: PositiveFloat = 2e-5
    """Peak learning rate of the encoder."""
    head_learning_rate: PositiveFloat = 5e-4
    """Peak learning rate of the head and of layer weights."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's weight decay; biases and norms have none."""
    warmup: ClosedUnitInterval = 0.1
    """Share of the steps spent warming up."""
    warmup_steps: NonNegativeInt | None = None
    """Warm-up in steps instead of a share; capped at half of the run's steps."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after warm-up."""
    clip_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    label_smoothing: HalfOpenUnit = 0.0
    """Share of the target spread over all labels."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: weigh the loss by the inverse class frequency (mean weight over clips is one)."""
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    """shuffled: every clip once an epoch. balanced: every label equally often in an epoch of the same length; a rare label's clips come
    several times, augmented differently each time."""
    focal_gamma: NonNegativeFloat = 0.0
    """Focal loss (Lin et al. 2017, arXiv 1708.02002): the surer a clip's right answer, the less it counts; 0 is off, 2 is usual."""
    mixup: NonNegativeFloat = 0.0
    """Beta parameter of mixup (Zhang et al. 2018, arXiv 1710.09412); 0 is off."""
    early_stopping: NonNegativeInt = 0
    """Stop after this many epochs without improvement; 0 is off."""
    min_improvement: NonNegativeFloat = 0.0
    """What counts as an improvement of the metric."""
    metric: Literal["accuracy", "macro_f1", "uar", "loss"] = "accuracy"
    """Chooses the best epoch, on the fold's validation part."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the GPU has it, else fp32."""
    workers: NonNegativeInt = 0
    """Processes that load and augment clips. Results don't depend on it."""
    threads: NonNegativeInt = 0
    """CPU threads of torch; 0 leaves torch's choice."""


@dataclass
class GainConfig:
    """Louder or softer."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_db: Decibels = -6.0
    """Lowest gain in dB."""
    max_db: Decibels = 6.0
    """Highest gain in dB."""


@dataclass
class NoiseConfig:
    """White noise of a random amplitude."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_amplitude: Amplitude = 0.0005
    """Lowest amplitude, full scale is 1."""
    max_amplitude: Amplitude = 0.01
    """Highest amplitude."""


@dataclass
class SnrNoiseConfig:
    """White noise at a random signal-to-noise ratio."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_snr_db: Decibels = 5.0
    """Lowest ratio in dB (most noise)."""
    max_snr_db: Decibels = 40.0
    """Highest ratio in dB."""


@dataclass
class TimeStretchConfig:
    """Faster or slower, same pitch."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_rate: StretchRate = 0.9
    """Slowest rate; the clip gets 1/rate times as long."""
    max_rate: StretchRate = 1.1
    """Fastest rate."""


@dataclass
class PitchShiftConfig:
    """Higher or lower, same speed."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_semitones: Semitones = -2.0
    """Lowest shift."""
    max_semitones: Semitones = 2.0
    """Highest shift."""


@dataclass
class ShiftConfig:
    """Move the clip in time; what falls off is replaced by silence."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    max_share: ClosedUnitInterval = 0.1
    """Largest shift as a share of the clip."""


@dataclass
class FilterConfig:
    """Band-pass filter, as of a telephone or a cheap microphone."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_center_hz: CenterHz = 300.0
    """Lowest centre frequency."""
    max_center_hz: CenterHz = 3000.0
    """Highest centre frequency."""


@dataclass
class RoomConfig:
    """Simulated room of a random size and damping (slow: 30 to 60 clips/s on a core). Needs pyroomacoustics."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    max_reflections: Reflections = 6
    """Order of the last reflections; more sound fuller, and cost more (10: five times slower than 6)."""


@dataclass
class ClippingConfig:
    """Clipping distortion."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    max_percentile: ClippedPercent = 20
    """Largest share of samples clipped, in percent."""


@dataclass
class AugmentConfig:
    """Augmentation of training clips by audiomentations; every transform is off until its p is set."""

    gain: GainConfig = field(default_factory=GainConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    snr_noise: SnrNoiseConfig = field(default_factory=SnrNoiseConfig)
    time_stretch: TimeStretchConfig = field(default_factory=TimeStretchConfig)
    pitch_shift: PitchShiftConfig = field(default_factory=PitchShiftConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    clipping: ClippingConfig = field(default_factory=ClippingConfig)


@dataclass
class TrackingConfig:
    """Tracking in Weights & Biases; the local files are the record, and are the same whatever it does."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online with an API key, offline without one."""
    project: str = "speech-emotion"
    """Project name."""
    entity: str | None = None
    """Team or user."""
    tags: list[str] = field(default_factory=list)
    """Tags of every run."""


@dataclass
class RunConfig:
    """The run: where it goes, its seed, and what happens when it is interrupted."""

    output: str | None = None
    """Folder of the run; default outputs/<name of the last --config file>."""
    seed: NonNegativeInt = 0
    """Everything random follows from it."""
    checkpoint_minutes: PositiveFloat = 5.0
    """A checkpoint this often; rarer on a disk so slow that writing them would take over 2 % of the time."""
    checkpoint_steps: PositiveInt | None = None
    """A checkpoint every so many optimizer steps, besides the minutes."""
    time_budget: str | None = None
    """Stop cleanly after this time (90s, 50m, 2h), resumable."""
    start_over: bool = False
    """Throw away what the output folder holds instead of refusing when config or data changed."""
    on_out_of_memory: Literal["stop", "halve"] = "stop"
    """When the GPU's memory is full: stop with the batch that did it, or halve the batch and double the accumulation."""


@dataclass
class Config:
    """One experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    cv: FoldsConfig = field(default_factory=FoldsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        _check_ranges(self.augment, "augment")
        _check_kind(self.model)
        if self.model.freeze == "encoder" and self.model.train_last_layers is not None:
            raise UserError(
                "model.freeze=encoder and model.train_last_layers contradict each other: "
                "set freeze to feature_encoder to train the last layers."
            )


def build_parser(
    command: str, description: str, sections: Sequence[str] | None = None, usage: str = "--config FILE.yaml [--section.key value ...]"
) -> ArgumentParser:
    """An argument parser with `--config` and the keys of the sections named (all of them by default).

    usage: what follows the command's name in the first line of `--help`.
    """
    parser = ArgumentParser(
        prog=f"python -m ser.{command}",
        usage=f"python -m ser.{command} {usage}",
        description=description,
        exit_on_error=False,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file; several are layered, later ones win.")
    for section in dataclasses.fields(Config):
        if sections is None or section.name in sections:
            parser.add_class_arguments(section.default_factory, section.name)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of a command's description, so that its example commands can be copied."""


def parse(parser: ArgumentParser, argv: Sequence[str]) -> tuple[Config, Namespace]:
    """Parse the command line. Returns the checked config and the namespace with the command's own arguments.

    Raises UserError naming the key, what was given and what is allowed.
    """
    try:
        namespace = parser.parse_args(_config_files_first(argv))
        objects = parser.instantiate(namespace)
    except (ArgumentError, argparse.ArgumentError, TypeError, ValueError) as error:
        raise UserError(_explain(parser, str(error))) from None
    # A command's own argument may have a section's name (`--model FOLDER`): only sections are taken.
    sections = {part.name: objects.get(part.name) for part in dataclasses.fields(Config)}
    given = {name: value for name, value in sections.items() if dataclasses.is_dataclass(value)}
    config = Config(**given)
    if config.run.output is None:
        files = [Path(str(path)) for path in (namespace.get("config") or [])]
        config.run.output = str(Path("outputs") / (files[-1].stem if files else "run"))
    return config, objects


def save_config(config: Config, path: str | os.PathLike) -> None:
    """Write the whole resolved config as YAML."""
    write_text(path, yaml.safe_dump(as_plain(config), sort_keys=False, allow_unicode=True))


def load_config(path: str | os.PathLike) -> Config:
    """Read a config written by `save_config` (or any YAML of the same keys)."""
    config, _ = parse(build_parser("train", ""), ["--config", str(path)])
    return config


def as_plain(value: Any) -> Any:
    """Dataclasses as plain dicts, lists, strings and numbers, ready for YAML or JSON."""
    if dataclasses.is_dataclass(value):
        return {part.name: as_plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    # jsonargparse's restricted numbers are subclasses of int and float, which YAML would tag as objects.
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _config_files_first(argv: Sequence[str]) -> list[str]:
    """Move `--config X` to the front, so that a key on the command line wins wherever it stands."""
    files, rest, words = [], [], iter(argv)
    for word in words:
        if word == "--config":
            files += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith("--config="):
            files.append(word)
        else:
            rest.append(word)
    return files + rest


def _explain(parser: ArgumentParser, message: str) -> str:
    """Add the nearest known key to a message about an unknown one."""
    known = [option.lstrip("-") for option in parser._option_string_actions if option.startswith("--")]
    for word in message.replace("'", " ").replace('"', " ").split():
        name = word.lstrip("-").split("=")[0]
        if name and name not in known and ("unrecognized" in message or "not accept" in message or "not expected" in message):
            tails = {key.split(".")[-1]: key for key in known}
            near = difflib.get_close_matches(name, known, 1, 0.75) or [
                tails[tail] for tail in difflib.get_close_matches(name.split(".")[-1], tails, 1, 0.75)
            ]
            if near:
                return f"{message}. Did you mean {near[0]}? --help lists every key."
    return f"{message}\n--help lists every key with its type and default."


_OF_ALL_KINDS = {"kind", "head_dropout", "mask_time_prob", "mask_feature_prob"}


def _check_kind(model: ModelConfig) -> None:
    """A key that another kind of model reads must not be set, because nothing would come of it."""
    kinds = typing.get_args(typing.get_type_hints(ModelConfig)["kind"])
    for part in dataclasses.fields(model):
        owner = part.name if part.name in kinds else "encoder"
        if part.name not in _OF_ALL_KINDS and owner != model.kind and getattr(model, part.name) != _default_of(part):
            raise UserError(f"model.{part.name} is read by model.kind {owner} only, but model.kind is {model.kind}: take one of them out.")


def _default_of(part: dataclasses.Field) -> Any:
    return part.default if part.default_factory is dataclasses.MISSING else part.default_factory()


def _check_ranges(section: Any, where: str) -> None:
    """Every pair min_x / max_x must be in order."""
    for part in dataclasses.fields(section):
        value = getattr(section, part.name)
        if dataclasses.is_dataclass(value):
            _check_ranges(value, f"{where}.{part.name}")
        elif part.name.startswith("min_"):
            top = "max_" + part.name.removeprefix("min_")
            if hasattr(section, top) and value > getattr(section, top):
                raise UserError(f"{where}.{part.name}: given {value}; it must not exceed {where}.{top}, which is {getattr(section, top)}.")
