"""One trial of a W&B sweep; `wandb agent` runs it with the values to try.

    python -m ser.sweep.wandb_trial --config configs/demo.yaml --output outputs/sweeps/demo/wandb_trials --train.learning_rate=3e-4

It is an ordinary run, in OUTPUT/<id of the W&B run>; W&B is told train.metric over the folds so far after every fold.
"""

from __future__ import annotations

import os
from pathlib import Path

from ser.config import build_parser, output_folder, parse
from ser.runtime.errors import run_command
from ser.sweep.trials import pooled, score
from ser.train.training import train

OF_THE_AGENT = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


def main(argv: list[str]) -> None:
    """Train fold by fold, and log after each."""
    import wandb

    parser = build_parser("sweep.wandb_trial", __doc__, usage="--config FILE.yaml --output DIR [--section.key value ...]")
    parser.add_argument("--output", type=str, required=True, help="Folder for the runs of all trials.")
    config, given = parse(parser, argv)
    folder = output_folder(given.output)
    with wandb.init(project=config.tracking.project, entity=config.tracking.entity, dir=str(folder.parent)) as run:
        for name in OF_THE_AGENT:  # the folds' own W&B runs are no trials
            os.environ.pop(name, None)
        config.run.output = str(Path(folder) / run.id)
        for fold in range(config.cv.n):
            train(config, [fold])
            run.log({"fold": fold, config.train.metric: score(*pooled(Path(config.run.output), fold + 1), config.train.metric)})
    print(f"made {config.run.output}: {config.cv.n} folds")


if __name__ == "__main__":
    run_command(main)
