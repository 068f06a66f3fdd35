"""Training by the same folds, loop and files as `python -m ser.train`, from Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import pandas as pd

from ser.config import Config, read_config_words
from ser.config.data import ALWAYS_TRAINED
from ser.config.shipped import shipped_config
from ser.korean.dataset import RECIPE, as_list, write_clips
from ser.korean.history import History, read_history
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_path, read_json, write_csv
from ser.runtime.progress import say
from ser.train.training import train

ONE_MODEL = ("--cv.n", "1", "--cv.split", "auto", "--cv.full_fit", "false")
"""Before whatever else the config's files say of folds."""
Clips = tuple[Sequence[str | Path], Sequence[str]]
"""(paths, labels), as `load_dataset_from_directory` gives them."""


class Training(TypedDict):
    """What a training left."""

    run: str
    """The run folder, which `create_inference_engine` and `ModelEvaluator` open."""
    oof: dict | None
    """Out-of-fold scores (`ser.scoring.metrics.scores`); None while folds are missing, or with val_data."""
    folds: dict[int, dict]
    """Scores of each fold that was trained, on its validation part."""
    histories: dict[int, History]
    """Of each fold, by epoch."""
    history: History
    """Of the first fold, for `plot_training_history`."""


class EmotionTrainer:
    """Trains the folds of one experiment into a run folder; called again after an interruption, it goes on."""

    def __init__(
        self,
        config: str | Path | Sequence[str | Path] = RECIPE,
        results_dir: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        layers = [config] if isinstance(config, (str, Path)) else list(config)
        files = [path if Path(path).is_file() else shipped_config(str(path)) for path in layers]
        self.argv = [word for path in files for word in ("--config", str(path))]
        self.settings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (settings or {}).items()}
        if results_dir is not None:
            self.argv += ["--run.output", str(results_dir)]
        if self._config([]).run.seeds:  # a wrong key is told here, too, before any data is read
            raise UserError("run.seeds: a trainer makes one run. Give each seed a trainer with a results_dir and run.seed of its own.")

    def train(self, train_data: Clips, val_data: Clips | None = None, folds: Sequence[int] | None = None) -> Training:
        """Train on (paths, labels). Labels are names of emotions in any alias.

        val_data: (paths, labels) to choose the best epoch by; then one model is trained, fold 0, whatever the section cv says. Without it
        there are `cv.n` folds (5), each choosing by the part it leaves out. folds: train only these. Raises UserError for data or settings
        that can't be used.
        """
        run = Path(self._config([]).run.output)
        clips, split = run.with_name(f"{run.name}.clips.csv"), run.with_name(f"{run.name}.folds.csv")
        paths, labels = map(as_list, train_data)
        for name, of in (("train_data", train_data), ("val_data", val_data)):
            if of is not None and not len(of[0]):
                raise UserError(f"{name} holds no clip.")
        given = ["--data.root", str(clips), "--data.allow_absolute_paths", "true"]
        if val_data is not None:
            if folds is not None:
                raise UserError("val_data and folds were both given: with val_data there is one model, fold 0.")
            held_out, their_labels = map(as_list, val_data)
            fold_of = [ALWAYS_TRAINED] * len(paths) + [0] * len(held_out)
            paths, labels = [*paths, *held_out], [*labels, *their_labels]
            given += [*ONE_MODEL, "--cv.file", str(split)]
            if unread := [key for key in self.settings if _of_split(key)]:
                say(f"val_data is the split, and one model is trained; not read: {', '.join(unread)}")
        config = self._config(given, split_given=val_data is not None)
        with _as_before_if_refused(clips, split):
            write_clips(clips, paths, labels)
            if val_data is not None:
                write_csv(split, pd.DataFrame({"id": [str(Path(path).absolute()) for path in paths], "fold": fold_of}))
            report = train(config, None if folds is None else list(folds))
        return _result(run, report)

    def _config(self, words: list[str], split_given: bool = False) -> Config:
        """What files, settings and words make together; split_given: without settings of a split."""
        settings = [word for key, value in self.settings.items() if not (split_given and _of_split(key)) for word in (f"--{key}", value)]
        return read_config_words([*self.argv, *settings, *words])


def create_trainer(
    config: str | Path | Sequence[str | Path] = RECIPE,
    results_dir: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> EmotionTrainer:
    """A trainer for an experiment.

    config: a YAML file or the name of one of configs/ (default xlsr_korean_15); several are layered, e.g. ["xlsr_korean_15", "gpu_8gb"].
    results_dir: the run folder, default outputs/<config>. settings: keys as on the command line, e.g. {"train.epochs": 3, "cv.n": 4}.
    """
    return EmotionTrainer(config, results_dir, settings)


@contextmanager
def _as_before_if_refused(*files: Path) -> Iterator[None]:
    """These files describe the run that is there, if one is: a call that is refused must not change them."""
    before = {file: file.read_bytes() for file in files if file.is_file()}
    try:
        yield
    except UserError:
        for file in files if before else ():
            if file in before:
                with atomic_path(file) as temporary:
                    temporary.write_bytes(before[file])
            else:
                file.unlink(missing_ok=True)
        raise


def _of_split(key: str) -> bool:
    return key.split(".")[0] == "cv"


def _result(run: Path, report: dict | None) -> Training:
    finished = sorted(run.glob("fold_*/metrics.json"), key=lambda file: int(file.parent.name.removeprefix("fold_")))
    numbers = [int(file.parent.name.removeprefix("fold_")) for file in finished]
    histories = {number: read_history(file.parent) for number, file in zip(numbers, finished, strict=True)}
    return Training(
        run=str(run),
        oof=None if report is None else report["oof"],
        folds={number: read_json(file)["scores"] for number, file in zip(numbers, finished, strict=True)},
        histories=histories,
        history=histories[numbers[0]],
    )
