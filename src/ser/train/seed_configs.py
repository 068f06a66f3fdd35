"""The same experiment with several seeds: the configs of its runs, which differ in the seed of the training alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ser.config import Config, save_config
from ser.inference.seed_runs import other_seeds, seed_folder, seed_folders
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.runtime.progress import say
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
    """What says that the folder is of several seeds, and of which; those that it had before and now hasn't are told, once."""
    folder, before = Path(config.run.output), []
    with suppress(UserError):  # killed before it was written
        before = seed_folders(folder)
    save_config(config, folder / "config.yaml")
    if seed_folders(folder) != before and (others := other_seeds(folder)):
        say(
            f"{folder} is of seeds {_listed(config.run.seeds)} from now on. Trained before and not among them: {', '.join(others)}; "
            "nothing of that is deleted, and no average, report, prediction or ensemble of this folder takes it."
        )


def outdated_report(config: Config) -> str | None:
    """Told while the seeds aren't finished and the report that is there is of other ones."""
    folder = Path(config.run.output)
    if not (folder / "report.json").is_file():
        return None
    of = [int(row["seed"].removeprefix("seed_")) for row in read_json(folder / "report.json")["seeds"]]
    if of == list(config.run.seeds):
        return None
    return f"{folder}: report.html, report.md and oof.csv are still of seeds {_listed(of)}, until those asked for now are finished."


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
