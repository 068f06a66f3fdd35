"""What a sweep leaves to be read: best.yaml, sweep.md, sweep.json, trials.csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from optuna.trial import TrialState

from ser.config import Config, as_plain, flat
from ser.report.tables import markdown_table
from ser.runtime.files import write_csv, write_json, write_text
from ser.scoring.metrics import describe
from ser.sweep.trials import Sweep


def write_report(sweep: Sweep, result: dict, config_file: str) -> str:
    """Write all four; returns the sentences of sweep.md. config_file: of the config that was varied."""
    table = trials_table(sweep)
    sentences = "\n\n".join(told(result))
    write_csv(sweep.folder / "trials.csv", table)
    write_json(sweep.folder / "sweep.json", result)
    best = result["best"]
    head = f"# {config_file} with the values of trial {best['number']}, the best of {sum(result['trials'].values())}; see sweep.md.\n"
    write_text(sweep.folder / "best.yaml", head + short_yaml(sweep.config_of(best["values"], Path("nowhere"))))
    order = table.sort_values(["state", "value"], ascending=[True, result["metric"] == "loss"])
    write_text(sweep.folder / "sweep.md", f"# Sweep of {config_file}\n\n{sentences}\n\n## Trials\n\n{markdown_table(order)}\n")
    return sentences


def trials_table(sweep: Sweep) -> pd.DataFrame:
    """A row per trial: number, state, folds, value (of those that are whole: train.metric out of fold), what was tried."""
    rows = []
    for trial in sweep.trials(*TrialState):
        value = trial.value if trial.state == TrialState.COMPLETE else np.nan
        row = {"trial": trial.number, "state": trial.state.name.lower(), "folds": len(trial.intermediate_values), "value": value}
        rows.append(row | {key: trial.params.get(key) for key in sweep.space})
    return pd.DataFrame(rows)


def told(result: Mapping) -> list[str]:
    """The result in sentences."""
    best, nested, counts = result["best"], result["nested"], result["trials"]
    values = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in best["values"].items())
    sentences = [
        f"{counts['complete']} trials were trained to the end, {counts['pruned']} given up as they fell behind, {counts['fail']} failed. "
        f"Split: {result['split']}. Chosen by {result['metric']}.",
        f"Best: trial {best['number']} ({values}). Out of fold: {describe(best['oof'])}.",
        f"That figure is flattered, as it chose the trial. Chosen by the other folds for each fold: {describe(nested['oof'])}. So the best "
        f"of {counts['complete']} flatters itself by about {100 * result['flattery']:+.1f} points of accuracy here.",
    ]
    if other := result["other_seeds"]:
        means = {name: float(np.mean([row["accuracy"] for row in other[name]])) for name in ("best", "base")}
        each = "; ".join(
            f"seed {seed}: {own['accuracy']:.3f} against {base['accuracy']:.3f}"
            for seed, own, base in zip(other["seeds"], other["best"], other["base"], strict=True)
        )
        gain, first = other["gain"], other["best"][0]
        low, high = 100 * gain["low"], 100 * gain["high"]
        sentences.append(
            f"On other seeds, and so other splits of the same clips, it has accuracy {means['best']:.3f} and the config as it was "
            f"{means['base']:.3f} ({each}; n {first['n']}, majority {first['majority']:.3f}, macro-F1 of the winner "
            f"{np.mean([row['macro_f1'] for row in other['best']]):.3f}, UAR {np.mean([row['uar'] for row in other['best']]):.3f}). "
            f"Gain: {100 * gain['difference']:+.1f} points [{low:+.1f}, {high:+.1f}] (95 % interval by {gain['interval_by']}, paired)."
        )
        if low <= 0:
            sentences.append("The interval holds zero: this sweep has not shown that its winner is better than the config as it was.")
    else:
        sentences.append("It was not trained again on other seeds (--rescore 0), so nothing says what it gains over the config as it was.")
    return sentences


def short_yaml(config: Config) -> str:
    """The keys that differ from the defaults, as YAML; without the run's folder."""
    defaults, tree = flat(as_plain(Config())), {}
    for key, value in flat(as_plain(config)).items():
        if key == "run.output" or (key in defaults and defaults[key] == value):
            continue
        *sections, name = key.split(".")
        part = tree
        for section in sections:
            part = part.setdefault(section, {})
        part[name] = value
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
