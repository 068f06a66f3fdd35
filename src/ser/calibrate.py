"""Make a run's confidence believable: temperature scaling fitted on its out-of-fold predictions.

    python -m ser.calibrate outputs/xlsr_korean_15

Writes calibration.json and calibration.png into the run. From then on prediction and evaluation with that run, its folds or their model
folders divide the log probabilities by the temperature; which emotion is the likeliest never changes for a single model. Delete
calibration.json to go back. The figures after scaling are honest: each fold is scaled by a temperature fitted on the other folds. Where the
log loss gains nothing by that, no calibration.json is left.
"""

from __future__ import annotations

import numpy as np

from ser.config import build_parser, parse
from ser.evaluate.report import plot_reliability
from ser.inference.runs import Run, read_run
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_json
from ser.scoring.calibration import FILE, expected_calibration_error, fit_temperature, reliability, scaled
from ser.scoring.metrics import log_loss


def main(argv: list[str]) -> None:
    parser = build_parser("calibrate", __doc__, sections=[], usage="RUN")
    parser.add_argument("run_folder", type=str, help="Run folder (outputs/X) with all its folds finished.")
    _, arguments = parse(parser, argv)
    result = calibrate(read_run(arguments.run_folder))
    print(
        f"n {result['n']}, temperature {result['temperature']:.3f}; expected calibration error {result['ece_before']:.3f} before, "
        f"{result['ece_after']:.3f} after; log loss {result['log_loss_before']:.3f} before, {result['log_loss_after']:.3f} after"
    )
    if result["gains"]:
        print(f"made {arguments.run_folder}/{FILE} and calibration.png: prediction uses it from now on")
    else:
        print(f"made {arguments.run_folder}/calibration.png: scaling gains nothing here, so the confidence stays as it is")


def calibrate(run: Run) -> dict:
    """Fit the temperature, write calibration.json (where it gains) and calibration.png into the run; returns what the JSON holds.

    Raises UserError for a run of a single fold, whose figures after scaling couldn't be honest.
    """
    if len(run.folds) < 2:
        raise UserError(f"{run.folder} has one fold; at least two are needed.")
    cross_fitted = np.empty_like(run.oof)
    for fold in run.folds:
        own = run.fold_of == fold
        cross_fitted[own] = scaled(run.oof[own], fit_temperature(run.labels[~own], run.oof[~own]))
    result = {
        "temperature": fit_temperature(run.labels, run.oof),
        "n": len(run.labels),
        "folds": len(run.folds),
        "ece_before": expected_calibration_error(run.labels, run.oof),
        "ece_after": expected_calibration_error(run.labels, cross_fitted),
        "log_loss_before": log_loss(run.labels, run.oof),
        "log_loss_after": log_loss(run.labels, cross_fitted),
        "how": "temperature scaling (Guo et al. 2017) on out-of-fold predictions; the figures after are cross-fitted by fold",
    }
    result["gains"] = result["log_loss_after"] < result["log_loss_before"]
    panels = {
        f"before: ECE {result['ece_before']:.3f}": reliability(run.labels, run.oof),
        f"after: ECE {result['ece_after']:.3f}": reliability(run.labels, cross_fitted),
    }
    plot_reliability(panels, run.folder / "calibration.png", f"{run.folder.name}: out-of-fold confidence")
    if result["gains"]:
        write_json(run.folder / FILE, result)
    else:
        (run.folder / FILE).unlink(missing_ok=True)
    return result


if __name__ == "__main__":
    run_command(main)
