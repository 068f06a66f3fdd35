"""Blend runs with one method and write submission, record and page; a method that doesn't suit its members (one that learns, a full
fit) is refused, and a doubtful blend (other folds, unlike members, a method that learns and is no better than the plain mean) is told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.data.label_column import label_numbers
from ser.ensemble.members import Members, read_members
from ser.ensemble.methods import DEFAULT, LEARNED, METHODS, Fitted, fit_mean, nested_predictions, nesting_groups
from ser.ensemble.page import write_blend_page
from ser.ensemble.submission import find_sample, make_submission
from ser.inference.runs import check_same_ids, read_csv
from ser.inference.unfinished import told_of_run
from ser.runtime.environment import git_commit
from ser.runtime.errors import UserError
from ser.runtime.files import write_json, write_text
from ser.runtime.progress import busy
from ser.scoring.metrics import paired_difference, scores
from ser.scoring.spread import seed_spread
from ser.scoring.suspicions import suspicions


def blend_runs(
    run_folders: Sequence[str | Path],
    output: str | Path,
    method: str = DEFAULT,
    sample: str | Path | None = None,
    allow_missing_folds: bool = False,
) -> dict:
    """Blend runs and write `output` (a CSV) with its record beside it (same name, .json). Returns the record.
    Its report page is the third file (.html).

    Where the runs have no test clips, the CSV holds the blend's out-of-fold probabilities instead of a submission.

    sample: the sample submission; by default the one in the data folder of a run.
    Raises UserError, with nothing written, when runs don't fit together or the sample doesn't match.
    """
    output = Path(output)
    if output.suffix != ".csv" or output.is_dir():
        raise UserError(f"the output {output} must be a file that ends in .csv, e.g. submissions/blend.csv.")
    if method not in METHODS:
        raise UserError(f"no blending method {method!r}; there are {', '.join(METHODS)}.")
    members = read_members(run_folders, allow_missing_folds)
    if not members.test_ids and len(members.runs) == 1:
        alone = members.runs[0].folder
        raise UserError(f"{alone} has no test clips, so there is nothing to submit. Name a second run to see what a blend scores.")
    label_names = members.runs[0].label_names
    with busy(f"blending by {method}"):
        fitted = fitted_blend(method, members)
        blended, estimate = _out_of_fold(method, members)
        compared = _compare(members, blended, fitted.weights)
    if members.test_ids:
        sample = find_sample(members.runs, sample)
        if sample.resolve() == output.resolve():
            raise UserError(f"the output {output} is the sample submission itself. Choose another name.")
        test = fitted.predict(members.test)
        predicted = test.argmax(axis=1)
        table = make_submission(sample, members.test_ids, predicted, label_names)
        test_scores = known_test_scores(sample.with_name("test_labels.csv"), members.test_ids, label_names, test)
    else:
        sample, predicted, test_scores = None, blended.argmax(axis=1), None
        table = _out_of_fold_table(members, blended)

    text = table.to_csv(index=False, lineterminator="\n")
    record = {
        "submission": output.name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "method": method,
        **compared,
        "full_fits": [
            {"run": str(full.folder), "epoch": full.epoch, "train_clips": len(full.run.ids), "weight": 1 / len(members.test)}
            for full in members.full_fits
        ],
        "estimate": estimate,
        "test": test_scores,
        "label_names": list(label_names),
        "label_counts": dict(zip(members.runs[0].label_names, np.bincount(predicted, minlength=len(label_names)).tolist(), strict=True)),
        "test_clips": len(members.test_ids),
        "test_clips_given_the_prior": sorted({clip["id"] for run in members.runs for clip in run.test_prior}),
        "sample": None if sample is None else str(sample),
        "data_fingerprint": members.runs[0].fingerprint,
        "git_commit": git_commit(),
    }
    record["warnings"] = _warnings(members, record)
    # The record goes first: a submission never stands without one, and the checksum ties the two together.
    write_json(output.with_suffix(".json"), record)
    write_text(output, text)
    write_blend_page(members, blended, record, output.with_suffix(".html"))
    return record


def known_test_scores(path: Path, test_ids: Sequence[str], label_names: Sequence[str], probabilities: np.ndarray) -> dict | None:
    """Scores on the test clips where their labels are known: demo data keeps them in test_labels.csv; a competition doesn't."""
    if not path.is_file():
        return None
    table = read_csv(path)
    check_same_ids(table["id"], test_ids, str(path), "the test clips of the runs")
    table = table.set_index("id").loc[list(test_ids)]
    speakers = table["speaker"].tolist() if "speaker" in table else None
    return scores(label_numbers(table["label"], label_names, path), probabilities, speakers)


def fitted_blend(method: str, members: Members) -> Fitted:
    """The blend of the test predictions. Raises UserError where a method has to learn and a member has nothing to learn from."""
    if method in LEARNED and members.full_fits:
        raise UserError(
            f"--method {method} learns from out-of-fold predictions, and {members.full_fits[0].folder}, trained on all clips, has none. "
            "Use --method mean or gmean, or leave it out."
        )
    return METHODS[method](members.test if members.full_fits else members.oof, members.labels)


def _out_of_fold(method: str, members: Members) -> tuple[np.ndarray, str]:
    """Out-of-fold probabilities of the blend (n, C), and a phrase saying how they came about."""
    if method not in LEARNED:
        return METHODS[method](members.oof, members.labels).predict(members.oof), "out-of-fold: nothing was fitted to it"
    groups, sentence = nesting_groups(members.folds, members.speakers)
    return nested_predictions(method, members.oof, members.labels, groups), sentence


def _out_of_fold_table(members: Members, blended: np.ndarray) -> pd.DataFrame:
    """What is written where there are no test clips: id, true, label (names) and p_<label> …"""
    names = np.array(members.runs[0].label_names)
    columns = {f"p_{name}": blended[:, number] for number, name in enumerate(names)}
    return pd.DataFrame({"id": members.ids, "true": names[members.labels], "label": names[blended.argmax(axis=1)], **columns})


def _compare(members: Members, blended: np.ndarray, weights: np.ndarray | None) -> dict:
    """Scores of the blend, of each member and of the plain mean on the same clips, and how much they differ."""
    labels, speakers = members.labels, members.speakers
    runs = [
        {
            "run": str(run.folder),
            "split": run.split,
            "folds": list(run.folds),
            "missing_folds": list(run.missing_folds),
            "weight": None if weights is None else float(weights[number]),
            "oof": scores(labels, members.oof[number], speakers),
            "seeds": _of_seeds(members, number),
        }
        for number, run in enumerate(members.runs)
    ]
    best = max(range(len(runs)), key=lambda number: runs[number]["oof"]["accuracy"])
    plain_mean = fit_mean(members.oof, labels).predict(members.oof)
    return {
        "oof": scores(labels, blended, speakers),
        "runs": runs,
        "plain_mean_oof": scores(labels, plain_mean, speakers),
        "best_run": runs[best]["run"],
        "gain_over_best_run": paired_difference(labels, blended, members.oof[best], speakers),
        "gain_over_plain_mean": paired_difference(labels, blended, plain_mean, speakers),
        "error_correlation": error_correlation(members.oof, labels),
    }


def _of_seeds(members: Members, number: int) -> dict | None:
    """The spread of a member that is the average of several seeds, over the clips of the blend."""
    runs = members.seeds[number]
    if not runs:
        return None
    rows = pd.Index(runs[0].ids).get_indexer(pd.Index(members.ids))
    spread = seed_spread(members.labels, np.stack([run.oof[rows] for run in runs]), members.speakers)
    return {"names": [run.folder.name for run in runs], **spread}


def error_correlation(oof: np.ndarray, labels: np.ndarray) -> list[list[float | None]]:
    """(R, R) correlation of being wrong: low is good among members of like accuracy. None for one that is never (or always) wrong."""
    wrong = (oof.argmax(axis=2) != labels).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.corrcoef(wrong).reshape(len(wrong), len(wrong))
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]


def _warnings(members: Members, record: dict) -> list[str]:
    found = suspicions(record["oof"], {})
    for run in members.runs:
        found += told_of_run(run.folder)
        found += [f"{run.folder}: {caveat}" for caveat in run.metrics[run.folds[0]].get("caveats", ())]
        if run.text_leak:
            found.append(f"{run.folder}: {run.text_leak}")
    if members.full_fits:
        found.append(
            f"{len(members.full_fits)} of {len(members.test)} members were trained on all clips: they predict the test clips, and no score "
            "here says how well."
        )
    most = max(len(run.ids) for run in members.runs)
    if len(members.ids) < most:
        found.append(f"scores are over the {len(members.ids)} of {most} training clips that every run has predicted.")
    if not members.same_folds:
        found.append(
            "the runs have different folds. Scores still compare clip by clip, since each out-of-fold prediction is of a clip its "
            "model hasn't seen."
        )
    splits = dict.fromkeys(run.split for run in members.runs)
    if len(splits) > 1:
        found.append(
            f"the runs were split differently ({'; '.join(splits)}). A run that has heard its validation voices in training scores "
            "higher than one that hasn't, so scores and learned weights favour it."
        )
    if record["test_clips_given_the_prior"]:
        found.append(f"{len(record['test_clips_given_the_prior'])} test clips couldn't be read and have the prior's label.")
    gain = record["gain_over_plain_mean"]
    if record["method"] in LEARNED and len(members.runs) > 1 and gain["difference"] <= 0:
        found.append(
            f"{record['method']} isn't worth it here: on clips it wasn't fitted to, its accuracy is {gain['difference']:+.3f} "
            f"[{gain['low']:+.3f}, {gain['high']:+.3f}] against the plain mean. Prefer --method mean."
        )
    return found
