"""The same experiment with several seeds: the configs of its runs, which differ in the seed of the training alone."""

from __future__ import annotations

import copy
from pathlib import Path

from ser.config import Config, save_config
from ser.inference.seed_runs import seed_folder
from ser.runtime.errors import UserError
from ser.train.experiment import split_seed


def configs_of_seeds(config: Config) -> list[Config]:
    """A config for each of run.seeds, with its output below the run's and the split of all. Raises UserError for seeds that can't be."""
    seeds = list(map(int, config.run.seeds))
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise UserError(f"run.seeds: given {seeds}; allowed are two or more different seeds, e.g. --seeds 0,1,2. One alone is --run.seed.")
    folder = Path(config.run.output)
    if (folder / "data.json").is_file():
        raise UserError(
            f"{folder} holds a run of one seed, and nothing of it is touched. Give the seeds a folder of their own, e.g. --run.output "
            f"{folder}_seeds; the run of the same seed comes out the same there."
        )
    made = []
    for seed in seeds:
        own = copy.deepcopy(config)
        own.cv.seed, own.run.seeds, own.run.seed = split_seed(config), [], seed
        own.run.output = str(seed_folder(folder, seed))
        made.append(own)
    return made


def write_group(config: Config) -> None:
    """What says that the folder is of several seeds, and of which."""
    save_config(config, Path(config.run.output) / "config.yaml")
