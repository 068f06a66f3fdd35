"""Blend the folds of one or several runs into a submission, by the plain mean or what --method names.

    python -m ser.ensemble outputs/wav2vec2_base --output submissions/base.csv
    python -m ser.ensemble outputs/wav2vec2_base outputs/wavlm_large outputs/hubert_large --output submissions/three.csv
    python -m ser.ensemble outputs/a outputs/b --method weighted --output submissions/weighted.csv
    python -m ser.ensemble outputs/a outputs/a/full_fit --output submissions/both.csv

The folds of a run are averaged, then the runs are blended:

    mean      arithmetic mean (the default, and hard to beat with few runs)
    gmean     geometric mean
    weighted  geometric mean with the weights of least out-of-fold log loss
    stack     logistic regression on the out-of-fold log probabilities

A folder of several seeds (`ser.train --seeds`) is one member, the average of its runs. A model of all clips (`cv.full_fit`) is a member by
its own name, outputs/X/full_fit; it predicts the test clips alone, so the two methods that learn refuse it.

Runs that hear and runs that read (model.kind) may be blended, as long as they are over the same clips. Without test clips, the CSV
holds what the blend says out of fold: id, true, label, p_<label> ….

The score shown for weighted and stack is nested: clips are judged by weights found without them. Choose by it and not by the
public board, whose standard error is about three times larger. Written are NAME.csv, exactly in the form and order of the
sample submission, and NAME.json, which says what went in and what it scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from ser.config import build_parser, output_file, parse
from ser.ensemble.blend import blend_runs
from ser.ensemble.methods import DEFAULT, METHODS
from ser.report.tables import text_table
from ser.runtime.errors import run_command
from ser.scoring.metrics import describe
from ser.scoring.spread import describe_spread
from ser.train.tracking import track_submission

SCORE_COLUMNS = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "uar", "log_loss")


def main(argv: list[str]) -> None:
    """Read the arguments, blend, and say what came out."""
    parser = build_parser("ensemble", __doc__, sections=[], usage="RUN [RUN ...] --output FILE.csv [--method mean]")
    parser.add_argument("runs", type=str, nargs="+", help="Run folders, e.g. outputs/wav2vec2_base.")
    parser.add_argument("--output", type=str, required=True, help="CSV to write, e.g. submissions/base.csv; its record goes beside it.")
    parser.add_argument("--method", type=Literal[tuple(METHODS)], default=DEFAULT, help="How runs are blended.")
    parser.add_argument("--sample", type=str, help="Sample submission; by default sample_submission.csv in the data folder of the runs.")
    parser.add_argument(
        "--allow_missing_folds", action="store_true", help="Blend unfinished runs too; what is missing is counted and reported."
    )
    _, given = parse(parser, argv)
    output = output_file(given.output, ".csv")
    record = blend_runs(given.runs, output, given.method, given.sample, given.allow_missing_folds)
    print(summary(record))
    prior = len(record["test_clips_given_the_prior"])
    rows = f"{record['test_clips']} rows" + f", {prior} of them the prior, for clips that can't be used" * bool(prior)
    if not record["test_clips"]:
        rows = f"no test clips to submit: out-of-fold probabilities of {record['oof']['n']} training clips"
    weights = {Path(run["run"]).name: run["weight"] for run in record["runs"]}
    track_submission(output, given.runs, {"oof": record["oof"], "method": record["method"], "weights": weights})
    print(f"wrote {output} ({rows}), {output.with_suffix('.json')} and {output.with_suffix('.html')} (open it in a browser)")


def summary(record: dict) -> str:
    """The record of a blend as text: members, correlation of their errors, the blend, warnings."""
    runs = record["runs"]
    members = pd.DataFrame(
        {
            "run": [run["run"] for run in runs],
            "folds": [len(run["folds"]) for run in runs],
            **{key: [run["oof"][key] for run in runs] for key in SCORE_COLUMNS},
            "weight": [run["weight"] for run in runs],
        }
    )
    splits = "; ".join(dict.fromkeys(run["split"] for run in runs))
    lines = [f"out-of-fold scores of {len(runs)} run{'s' * (len(runs) > 1)} (split: {splits})", text_table(members)]
    for run in runs:
        if run["seeds"]:
            lines += [f"{run['run']}:", *(f"  {line}" for line in describe_spread(run["seeds"], run["seeds"]["names"]))]
    for full in record["full_fits"]:
        lines.append(
            f"{full['run']}: all {full['train_clips']} clips, {full['epoch']} epochs; weight {full['weight']:.3f} in the test predictions"
        )
    if len(runs) > 1:
        numbers = [f"({number})" for number in range(1, len(runs) + 1)]
        correlation = pd.DataFrame(record["error_correlation"], columns=numbers)
        correlation.insert(0, "run", [f"{number} {run['run']}" for number, run in zip(numbers, runs, strict=True)])
        lines += ["", "correlation of errors between runs (the lower, the more a blend gains):", text_table(correlation), ""]
    lines += [f"{record['method']}: {describe(record['oof'])}", f"  ({record['estimate']})"]
    if len(runs) > 1:
        lines.append(f"  against the best run, {record['best_run']}: {_signed(record['gain_over_best_run'])}")
        if record["method"] != "mean":
            lines.append(f"  against the plain mean: {_signed(record['gain_over_plain_mean'])}")
    if record["test"] is not None:
        lines.append(f"test clips (their labels are known, and chose nothing): {describe(record['test'])}")
    lines.append("labels given: " + ", ".join(f"{name} {count}" for name, count in record["label_counts"].items()))
    lines += [f"warning: {line}" for line in record["warnings"]]
    return "\n".join(lines)


def _signed(gain: dict) -> str:
    return f"accuracy {gain['difference']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] (95 % interval, paired)"


if __name__ == "__main__":
    run_command(main)
