"""One experiment: all sections together, and the checks that look at more than one key."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any

from ser.config.augment import AugmentConfig
from ser.config.data import DataConfig, FoldsConfig
from ser.config.explaining import plain_value
from ser.config.model import ModelConfig
from ser.config.training import RunConfig, TrackingConfig, TrainConfig
from ser.runtime.errors import UserError


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
        _check_one_fold(self.cv)
        _check_kind(self.model)
        if self.model.freeze == "encoder" and self.model.train_last_layers is not None:
            raise UserError(
                "model.freeze=encoder and model.train_last_layers contradict each other: "
                "set freeze to feature_encoder to train the last layers."
            )
        if self.model.kind in TAKES_TEXT:
            _check_for_texts(self)
        _check_copies(self)


def _check_one_fold(cv: FoldsConfig) -> None:
    """One fold is no cross-validation: somebody has to say which clips are held out, and there is no median of best epochs."""
    if cv.n == 1 and cv.file is None:
        raise UserError(
            "cv.n: given 1; allowed are 2 or more, or 1 with a cv.file `id,fold` that says which clips are held out "
            "(fold 0) and which are trained on (fold -1)."
        )
    if cv.n == 1 and cv.full_fit:
        raise UserError("cv.full_fit: given true with cv.n 1, where one model is all there is: set it to false.")


TAKES_TEXT = ("text_encoder", "text_ngrams", "fusion")


def _check_for_texts(config: Config) -> None:
    """What changes sound can't change words."""
    if active := config.augment.active:
        raise UserError(f"augment.{active[0]}.p: model.kind {config.model.kind} can't be augmented: set it to 0.")
    if config.train.mixup:
        raise UserError(f"train.mixup: words can't be mixed like sound, and model.kind {config.model.kind} reads them: set it to 0.")


MULTI_LABEL_KINDS = ("text_ngrams", "text_encoder")
_OF_ONE_LABEL = ("train.class_weights", "train.sampler", "train.label_smoothing", "train.focal_gamma", "cv.full_fit", "run.seeds")


def check_multi_label(config: Config) -> None:
    """Raise UserError where a training asks for the one label of a clip, and clips may have several (data.multi_label)."""
    if not config.data.multi_label:
        return
    if config.model.kind not in MULTI_LABEL_KINDS:
        raise UserError(
            f"data.multi_label: model.kind {config.model.kind} gives each clip one label; several are given by "
            f"{' and '.join(MULTI_LABEL_KINDS)}. Choose one of these kinds, or set data.multi_label to false."
        )
    for key in _OF_ONE_LABEL:
        section, name = key.split(".")
        part = next(part for part in dataclasses.fields(getattr(config, section)) if part.name == name)
        if (value := getattr(getattr(config, section), name)) != (usual := _default_of(part)):
            raise UserError(
                f"{key}: given {plain_value(value)}, which isn't made for several labels a clip (data.multi_label): "
                f"set it to {plain_value(usual)}."
            )


def has_solved_head(config: Config) -> bool:
    """Whether the model is an encoder whose head is all there is to learn, and can be solved, as long as its clips don't change."""
    own = config.model
    return own.kind == "encoder" and own.freeze == "encoder" and own.pooling != "attentive"


def _check_copies(config: Config) -> None:
    """Copies come from augmentation, and only a model that is fitted in one go learns from them."""
    copies, active, kind = config.train.augmented_copies, config.augment.active, config.model.kind
    if copies and kind != "classical" and not (has_solved_head(config) and not config.train.mixup):
        raise UserError(
            f"train.augmented_copies: given {copies}, but this model isn't fitted in one go. Networks trained by epochs hear each clip "
            "augmented anew in every epoch: set it to 0."
        )
    if copies and not active:
        raise UserError(
            f"train.augmented_copies: given {copies}, but no transform is on: set one, e.g. augment.codec.p 0.5, or copies to 0."
        )
    if active and kind == "classical" and not copies:
        raise UserError(
            f"augment.{active[0]}.p: model.kind classical is fitted in one go, to copies made beforehand: "
            "set train.augmented_copies to 1 or more, or this to 0."
        )


_WHICH_ENCODER = {"name", "from_scratch"}
_OF_ALL_KINDS = {"kind", "head_dropout", "mask_time_prob", "mask_feature_prob"}


def _check_kind(model: ModelConfig) -> None:
    """A key that another kind of model reads must not be set, because nothing would come of it."""
    kinds = typing.get_args(typing.get_type_hints(ModelConfig)["kind"])
    for part in dataclasses.fields(model):
        owner = part.name if part.name in kinds else "encoder"
        if part.name in _WHICH_ENCODER and model.kind == "classical" and "encoder" in model.classical.features:
            continue
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
