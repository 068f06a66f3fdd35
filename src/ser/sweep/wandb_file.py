"""The same sweep for W&B's own controller: a file for `wandb sweep`, whose agents run `ser.sweep.wandb_trial`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from ser.runtime.files import write_text

HEAD = """# The space of this sweep for Weights & Biases:  wandb sweep {file}  and then, on each machine,  wandb agent ID
# Folds are what its early termination counts.
"""


def write_wandb_file(folder: Path, words: Sequence[str], space: Mapping[str, BaseDistribution], metric: str) -> Path:
    """Write wandb.yaml into the folder of a sweep; each trial becomes a run folder below <folder>/wandb_trials."""
    path = folder / "wandb.yaml"
    content = {
        "method": "bayes",
        "metric": {"name": metric, "goal": "minimize" if metric == "loss" else "maximize"},
        "early_terminate": {"type": "hyperband", "min_iter": 2},
        "parameters": {key: parameter(distribution) for key, distribution in space.items()},
        "command": ["${env}", "python", "-m", "ser.sweep.wandb_trial", *words, "--output", str(folder / "wandb_trials"), "${args}"],
    }
    write_text(path, HEAD.format(file=path) + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def parameter(distribution: BaseDistribution) -> dict:
    """A distribution in W&B's words. Whole numbers are drawn evenly: its logarithmic ones aren't whole."""
    if isinstance(distribution, CategoricalDistribution):
        return {"values": list(distribution.choices)}
    if isinstance(distribution, IntDistribution):
        return {"values": list(range(distribution.low, distribution.high + 1, distribution.step))}
    bounds = {"min": distribution.low, "max": distribution.high}
    if distribution.step:
        return {"distribution": "q_uniform", **bounds, "q": distribution.step}
    return {"distribution": "log_uniform_values" if distribution.log else "uniform", **bounds}
