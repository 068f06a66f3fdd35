"""Train several experiments on one split and put them side by side.

    python -m ser.compare_experiments configs/mfcc_cnn.yaml configs/logmel_crnn.yaml --data.root input --output outputs/comparison
    python -m ser.compare_experiments configs/mfcc_cnn.yaml configs/wav2vec2_frozen.yaml configs/wav2vec2_last4.yaml --train.epochs 10

The first config is the baseline. Every experiment has the same clips in the same folds. Where speakers are known each is
trained twice, with speakers kept apart between folds and without, and the gap between the two is reported; where a model reads
texts, also with each sentence kept in one fold. --cv.split speaker, text or stratified asks for one of them. Options other than
--output are keys of the configs and hold for every experiment.

Written are comparison.md, .csv and .png, histories.png (of what is trained by epochs), and a run folder for each experiment and
split. Run the same command again after an interruption, or with one config more: what is finished is reused.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ser.config import build_parser, key_words, output_folder, read_words
from ser.report.tables import text_table
from ser.runtime.errors import UserError, run_command

SHOWN = ("split", "experiment", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "uar", "points_difference")


def main(argv: list[str]) -> None:
    """Train what isn't trained yet, then write the comparison."""
    files, output, options = read_arguments(argv)
    # Not at the top: --help and a wrong word answer before torch is imported.
    from ser.compare_experiments.experiments import SPLITS, read_experiment
    from ser.compare_experiments.report import write_comparison
    from ser.compare_experiments.running import config_of, prediction_speed, train_experiment, wanted_splits

    configs = [config_of(file, options) for file in files]
    splits = wanted_splits(configs)
    options = [word for word in options if not word.startswith(("--cv.split=", "--cv.n="))]  # set below
    os.environ.setdefault("SER_STARTED", str(time.time()))  # a --run.time_budget counts for all trainings together
    for split in splits:
        same_split = ["--cv.split", split, "--cv.n", str(configs[0].cv.n)]
        for file in files:
            folder = output / file.stem / split
            print(f"== {file.stem}, {SPLITS[split]}", flush=True)
            train_experiment(file, [*options, *same_split, "--run.output", str(folder)])
            if file is files[0]:  # it makes the split, the others take it from there
                same_split += ["--cv.file", str(folder / "folds.csv")]
    experiments = [
        read_experiment(file.stem, {split: output / file.stem / split for split in splits}, prediction_speed(output / file.stem, config))
        for file, config in zip(files, configs, strict=True)
    ]
    table = write_comparison(experiments, output)
    print(text_table(table[list(SHOWN)]))
    print(f"wrote {output}/comparison.md, comparison.csv, comparison.png")


def read_arguments(argv: list[str]) -> tuple[list[Path], Path, list[str]]:
    """The configs, the output folder, and the keys for every training as words."""
    usage = "CONFIG CONFIG [CONFIG ...] [--output DIR] [--section.key value ...]"
    parser = build_parser("compare_experiments", __doc__, usage=usage)
    parser.add_argument("configs", type=str, nargs="*", help="Two or more configs; the first is the baseline.")
    parser.add_argument("--output", type=str, default="outputs/comparison", help="Folder to write the comparison and the runs to.")
    for word in argv:
        if word.partition("=")[0] in ("--config", "--run.output", "--cv.file"):
            raise UserError(f"{word}: the comparison sets it for each experiment. Name configs first, then --output and other keys.")
    given, keys = read_words(parser, argv), key_words(argv)
    files = [Path(name) for name in given.configs]
    _check_configs(files)
    return files, output_folder(given.output), [f"--{key}={value}" for key, value in keys]


def _check_configs(files: list[Path]) -> None:
    if len(files) < 2:
        raise UserError(
            f"given {len(files)} config(s); name at least two, before any option, e.g. configs/a.yaml configs/b.yaml --output D."
        )
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such config.")
        if sum(other.stem == file.stem for other in files) > 1:
            raise UserError(f"two configs are named {file.stem}; experiments are named after their files, so rename one.")


if __name__ == "__main__":
    run_command(main)
