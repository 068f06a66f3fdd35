"""Make a run's confidence believable: temperature scaling of what is served, one fold or the mean of the folds.

    python -m ser.calibrate outputs/xlsr_korean_15
    python -m ser.calibrate outputs/xlsr_korean_15 --data.root LABELLED      # clips that no fold has trained on

A single fold gets a temperature fitted on the out-of-fold predictions. The mean over folds needs one of its own, since it is less
noisy than a fold: with labelled clips it is fitted on them; without, it follows from how far the folds differ on the run's test clips,
whose labels it doesn't need; a run without test clips stays unscaled. The figures after scaling are of clips that chose nothing: each
fold (each part of the labelled clips, speakers apart where known) is scaled by what the others gave. Where the log loss gains no
more by that than its standard error, there is no scaling.

Writes calibration.json and calibration.png into the run. From then on prediction and evaluation with the run, its folds or their model
folders divide the log probabilities by the temperature; which emotion is the likeliest never changes. Delete calibration.json to go back.
"""

from __future__ import annotations

import numpy as np

from ser.config import Config, build_parser, key_words, parse
from ser.data.hashes import hash_files, text_hash
from ser.data.tables import Dataset, read_dataset
from ser.data.text_input import tidy
from ser.inference.runs import Run, read_probabilities, read_run
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_json
from ser.scoring.calibration import FILE, cross_fitted, fit_temperature, gain, reliability, temperature_of_the_mean

FEWEST_CLIPS = 50
PARTS = 5


def main(argv: list[str]) -> None:
    parser = build_parser("calibrate", __doc__, sections=["data"], usage="RUN [--data.root LABELLED] [--section.key value ...]")
    parser.add_argument("run_folder", type=str, help="Run folder (outputs/X) with all its folds finished.")
    config, arguments = parse(parser, argv)
    run = read_run(arguments.run_folder)
    labelled = read_dataset(config.data) if "data.root" in dict(key_words(argv)) else None
    result = calibrate(run, labelled, config)
    print(f"one fold: {_told(result, result['temperature'])}")
    mean = result["mean"]
    if "ece_after" in mean:
        print(f"the mean of {len(run.folds)} folds: {_told(mean, result['temperature_of_the_mean'])}")
    else:
        print(f"the mean of {len(run.folds)} folds: temperature {result['temperature_of_the_mean']:.3f}, {mean['how']}")
    scaled = {"single folds": result["temperature"], "the mean of the folds": result["temperature_of_the_mean"]}
    used = " and ".join(name for name, temperature in scaled.items() if temperature != 1.0)
    if used:  # else `_leave` has left no file
        print(f"made {run.folder}/{FILE} and calibration.png: prediction by {used} uses it from now on")
    else:
        print(f"made {run.folder}/calibration.png: nothing is scaled")


def calibrate(run: Run, labelled: Dataset | None = None, config: Config | None = None) -> dict:
    """Fit both temperatures, write calibration.json (where one gains) and calibration.png into the run; returns what the JSON holds.

    labelled: clips to fit the mean of the folds on; config: how they are read. Raises UserError for a run of a single fold, whose figures
    after scaling couldn't be honest, and for too few labelled clips.
    """
    if len(run.folds) < 2:
        raise UserError(f"{run.folder} has one fold; at least two are needed. Train it with more: --cv.n 5.")
    if labelled is not None:
        check_enough(run, labelled, config or Config())
    figures = gain(run.labels, run.oof, run.fold_of)
    result = {
        "temperature": fit_temperature(run.labels, run.oof) if figures["gains"] else 1.0,
        "n": len(run.labels),
        "folds": len(run.folds),
        **figures,
        "how": "temperature scaling (Guo et al. 2017) on out-of-fold predictions; the figures after are cross-fitted by fold",
        "temperature_of_the_mean": 1.0,
    }
    _leave(run, result)  # so that labelled clips are heard by an unscaled mean
    mean, result["mean"] = _mean_of_folds(run) if labelled is None else _on_labelled(run, labelled, config or Config())
    _leave(run, result | {"temperature_of_the_mean": mean})
    panels = {
        f"one fold, before: ECE {result['ece_before']:.3f}": reliability(run.labels, run.oof),
        f"one fold, after: ECE {result['ece_after']:.3f}": reliability(run.labels, cross_fitted(run.labels, run.oof, run.fold_of)),
    }
    from ser.evaluate.report import plot_reliability  # imports torch, which --help needn't wait for

    plot_reliability(panels, run.folder / "calibration.png", f"{run.folder.name}: out-of-fold confidence")
    return result | {"temperature_of_the_mean": mean}


def check_enough(run: Run, labelled: Dataset, config: Config) -> None:
    """Raise UserError where already the files (or texts) tell that too few labelled clips are new, before any model hears one.

    Files are told apart by their bytes; what turns out to be unusable, or the same sound in another file, is found later.
    """
    table = labelled.train
    if not (table.texts if run.input == "text" else table.paths):
        return  # evaluation says what is lacking
    if run.input == "text":
        hashes = [text_hash(text) for text in map(tidy, table.texts) if text]
    else:
        hashes = hash_files(table.paths, config.data.cache, "labelled clips")
    trained = set(run.file_hashes) - {""}
    new = sum(not isinstance(own, OSError) and own not in trained for own in hashes)
    if new < FEWEST_CLIPS:
        raise too_few(labelled, new, len(table) - new)


def too_few(labelled: Dataset, new: int, others: int, usable: str = "") -> UserError:
    """What is said where clips don't suffice for a temperature."""
    return UserError(
        f"--data.root: {labelled.root} has {new} {usable}clips that no fold has trained on, and {others} others; at least {FEWEST_CLIPS} "
        "are needed. Give more, or leave --data.root out: the mean's temperature then follows from the run's test clips, if it has some."
    )


def _mean_of_folds(run: Run) -> tuple[float, dict]:
    """The temperature of the mean without labelled clips, and how it came about."""
    unusable = {clip["id"] for clip in run.test_prior}
    rows = [row for row, name in enumerate(run.test_ids) if name not in unusable]
    if len(rows) < FEWEST_CLIPS:
        few = f"unscaled: {len(rows)} test clips are too few to tell how far folds differ ({FEWEST_CLIPS} are needed)"
        return 1.0, {"how": f"{few}; give labelled clips that no fold has trained on: --data.root LABELLED"}
    new = np.stack(
        [read_probabilities(run.folder / f"fold_{fold}" / "test.csv", run.test_ids, run.label_names)[rows] for fold in run.folds]
    )
    how = f"from how far the folds differ on {len(rows)} test clips; labelled clips (--data.root LABELLED) would tell what it gains"
    return temperature_of_the_mean(run.labels, run.oof, new), {"how": how}


def _on_labelled(run: Run, labelled: Dataset, config: Config) -> tuple[float, dict]:
    """The temperature of the mean on labelled clips, with what it gains on clips that chose nothing."""
    from ser.evaluate.evaluation import evaluate

    found = evaluate(run.folder, labelled, config.data)
    new = np.flatnonzero(~found.seen)
    if len(new) < FEWEST_CLIPS:
        raise too_few(labelled, len(new), int(found.seen.sum()), "usable ")
    labels, probabilities, speakers = found.labels[new], found.probabilities[new], None
    if labelled.train.speakers is not None:
        of_clip = dict(zip(labelled.train.ids, labelled.train.speakers, strict=True))
        speakers = [of_clip[found.ids[row]] for row in new]
    figures = gain(labels, probabilities, _parts(len(new), speakers))
    by = "clip" if speakers is None else "speaker"
    how = f"fitted on {len(new)} labelled clips; the figures after are cross-fitted in {PARTS} parts by {by}"
    return fit_temperature(labels, probabilities) if figures["gains"] else 1.0, {"n": len(new), **figures, "how": how}


def _parts(count: int, speakers: list[str] | None) -> np.ndarray:
    """(count,) the part of each clip, speakers apart where there are enough of them."""
    from sklearn.model_selection import GroupKFold, KFold

    parts, many = np.zeros(count, dtype=int), len(set(speakers or ()))
    splits = GroupKFold(min(PARTS, many)) if many > 1 else KFold(PARTS, shuffle=True, random_state=0)
    for number, (_, own) in enumerate(splits.split(parts, groups=speakers if many > 1 else None)):
        parts[own] = number
    return parts


def _leave(run: Run, result: dict) -> None:
    if result["temperature"] == result["temperature_of_the_mean"] == 1.0:
        (run.folder / FILE).unlink(missing_ok=True)
    else:
        write_json(run.folder / FILE, result)


def _told(figures: dict, temperature: float) -> str:
    scaling = f"temperature {temperature:.3f}" if figures["gains"] else "unscaled, since scaling gains no more than chance could"
    return (
        f"{scaling}; n {figures['n']}, expected calibration error {figures['ece_before']:.3f} before, {figures['ece_after']:.3f} after; "
        f"log loss {figures['log_loss_before']:.3f} before, {figures['log_loss_after']:.3f} after"
    )


if __name__ == "__main__":
    run_command(main)
