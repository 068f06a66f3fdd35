"""The report of a whole run: oof.csv, report.md, report.json and confusion.png in its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from ser.data.duplicates import KINDS, Finding, find_duplicates
from ser.data.tables import Table
from ser.data.votes import describe_votes, told_votes
from ser.inference.run_files import is_fitted_in_one_go
from ser.inference.runs import Run, read_run
from ser.report.fold_report import fold_rows, fold_table
from ser.report.multi_label_report import multi_label_report
from ser.report.page.judged import NOTHING_KNOWN, ClipFacts
from ser.report.page.run_page import write_run_page
from ser.report.pictures import plot_confusion
from ser.report.tables import markdown_table
from ser.runtime.files import write_csv, write_json, write_text
from ser.scoring.intervals import describe_interval
from ser.scoring.metrics import describe, per_class, scores
from ser.scoring.suspicions import suspicions

LEAKS_SHOWN = 3
"""Of each kind, in the report's warnings."""
FOLD_COLUMNS = ("n", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "uar", "log_loss")


def run_report(run_folder: str | Path, facts: ClipFacts = NOTHING_KNOWN) -> dict:
    """Check a finished run and write its oof.csv, confusion.png, report.json, report.md and report.html. Returns what report.json holds.

    facts: what is known of the training clips, for the page.

    Raises UserError when a fold is missing or the files don't hold together (see `ser.inference.runs.read_run`).
    """
    run = read_run(run_folder, multi_label=True)
    histories = {fold: pd.read_csv(run.folder / f"fold_{fold}" / "history.csv") for fold in run.folds}
    about = _about(run, histories)
    if run.labels.ndim == 2:
        return multi_label_report(run, about, _caveats(about), histories)
    result = scores(run.labels, run.oof, run.speakers)
    report = {
        **about,
        "oof": result,
        "folds": fold_rows(run, FOLD_COLUMNS),
        "classes": per_class(run.labels, run.oof, run.label_names).to_dict("records"),
        "votes": None if run.votes is None else told_votes(*run.votes, len(run.unclear)),
        "warnings": about["warnings"] + suspicions(result, {fold: (run.metrics[fold], histories[fold]) for fold in run.folds}),
    }
    write_csv(run.folder / "oof.csv", oof_table(run))
    plot_confusion(run.labels, run.oof, run.label_names, run.folder / "confusion.png", f"{run.folder.name}: out-of-fold predictions")
    write_json(run.folder / "report.json", report)
    write_text(run.folder / "report.md", _as_markdown(report))
    write_run_page(run, report, _caveats(report), histories, facts)
    return report


def _about(run: Run, histories: Mapping[int, pd.DataFrame]) -> dict:
    """What the report of any run says besides its scores."""
    leaks = _leaks(run)
    return {
        "run": run.folder.name,
        "input": run.input,
        "split": run.split,
        "fingerprint": run.fingerprint,
        "dropped": list(run.dropped),
        "cut": run.cut,
        "test_clips": len(run.test_ids),
        "test_prior": list(run.test_prior),
        "speakers": len(set(run.speakers)) if run.speakers else None,
        "in_one_go": all(is_fitted_in_one_go(run.metrics[fold]) for fold in run.folds),
        "epoch_chosen": any(len(history) > 1 for history in histories.values()),
        "caveats": run.metrics[run.folds[0]].get("caveats", []) + _about_voices(run) + _about_transcripts(run),
        "leaks": [{"kind": finding.kind, "ids": list(finding.ids), "detail": finding.detail} for finding in leaks],
        "warnings": [run.text_leak] * bool(run.text_leak) + _leak_warnings(leaks, run.input) + _precision_warnings(run),
    }


def oof_table(run: Run) -> pd.DataFrame:
    """Columns id, fold, label and p_<label> …: each training clip as predicted by the model that hasn't seen it."""
    table = pd.DataFrame(run.oof, columns=[f"p_{name}" for name in run.label_names])
    table.insert(0, "label", run.labels)
    table.insert(0, "fold", run.fold_of)
    table.insert(0, "id", run.ids)
    return table


def _leaks(run: Run) -> list[Finding]:
    """Equal audio and speakers in several folds, as told by the hashes and speakers in data.json."""
    train = Table(run.ids, (), run.labels, run.speakers)
    test = Table(run.test_ids, ())
    return find_duplicates(train, run.audio_hashes, run.fold_of, test, run.test_audio_hashes, run.label_names)


def _as_markdown(report: dict) -> str:
    parts = [
        f"# {report['run']}",
        f"Out-of-fold: {describe(report['oof'])}.",
        *(f"**Warning:** {line}" for line in report["warnings"]),
        "## How to read these numbers",
        "\n".join(f"- {line}" for line in _caveats(report)),
        "## Folds",
        markdown_table(fold_table(report["folds"])),
        "## Labels",
        markdown_table(pd.DataFrame(report["classes"])),
        "![confusion matrix](confusion.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _about_voices(run: Run) -> list[str]:
    """What was found of the speakers in each fold's validation clips, by models that look for them."""
    found = {fold: told for fold in run.folds if (told := run.metrics[fold].get("voices"))}
    return ["Voices of the validation clips: " + "; ".join(f"fold {fold}: {told}" for fold, told in found.items()) + "."] * bool(found)


def _about_transcripts(run: Run) -> list[str]:
    if run.input != "audio and text":
        return []
    return [f"Training clips without a transcript, where the audio alone decided: {len(run.without_transcript)} of {len(run.ids)}."]


def _precision_warnings(run: Run) -> list[str]:
    """Folds that were trained on machines of which each means another precision by auto."""
    folds = {fold: ", then ".join(run.metrics[fold].get("precisions", [])) for fold in run.folds}
    precisions = sorted(set(folds.values()) - {""})
    if len(precisions) < 2 and ", then " not in "".join(precisions):
        return []
    told = "; ".join(f"{precision}: {', '.join(str(fold) for fold in run.folds if folds[fold] == precision)}" for precision in precisions)
    return [f"The folds were trained in more than one precision ({told}), as train.precision auto has it on different machines."]


def _leak_warnings(leaks: Sequence[Finding], what: str) -> list[str]:
    """One sentence per kind of equal audio. Speakers in several folds belong to the split and are told with it."""
    counts = Counter(finding.kind for finding in leaks if finding.kind != "speaker_across_folds")
    told = []
    for kind, count in counts.items():
        first = "; ".join(finding.detail for finding in islice((leak for leak in leaks if leak.kind == kind), LEAKS_SHOWN))
        told.append(f"{KINDS[kind].replace('audio', what)}: {count} ({first}{'; all in report.json' if count > LEAKS_SHOWN else ''}).")
    return told


def _caveats(report: dict) -> list[str]:
    lines = [
        f"Split: {report['split']}.",
        "Each training clip is predicted by the one fold that hasn't trained on it."
        + " The epoch of a fold was chosen on the same validation part, so fold and out-of-fold scores are slightly optimistic."
        * report["epoch_chosen"]
        + " Each model was fitted in one go: there are no epochs to choose from." * report["in_one_go"],
        *report["caveats"],
    ]
    lines.append(_about_speakers(report))
    if "oof" in report:
        lines.append(
            f"In brackets: {describe_interval(report['oof'])}. majority is the accuracy of always giving the commonest label; macro-F1 is "
            "the mean F1 and UAR the mean recall over the labels that occur."
        )
    if report.get("votes"):
        lines.append(f"Several annotators were asked: {describe_votes(report['votes'])}.")
    dropped, prior = report["dropped"], report["test_prior"]
    lines.append(f"Training clips left out as unusable: {len(dropped)}{_statuses(dropped)}.")
    lines.append(f"Test clips that couldn't be read and were given the prior: {len(prior)} of {report['test_clips']}{_statuses(prior)}.")
    lines += [f"Longer than data.max_seconds, and cut: {number} {part} clips." for part, number in report["cut"].items() if number]
    return lines


def _about_speakers(report: dict) -> str:
    """Whether the score is for voices that the model has heard, or for writers that it has read."""
    known, shared = report["speakers"], sum(leak["kind"] == "speaker_across_folds" for leak in report["leaks"])
    reads = report["input"] == "text"
    if known is None and reads:
        return (
            "Who wrote which text isn't known: texts of one writer may be on both sides. Expect less on new writers. Give a CSV "
            "`id,speaker` (--data.speakers) to split by writer."
        )
    if known is None:
        return (
            "There is no speaker column: a speaker-disjoint split can't be made from the competition's CSV, and clips of one voice are "
            "probably on both sides. Expect less on new voices. Give a CSV `id,speaker` (--data.speakers) to split by speaker."
        )
    who, new = ("writers", "writers the model hasn't read") if reads else ("speakers", "voices the model hasn't heard")
    if shared:
        met = "writers" if reads else "voices"
        return f"{shared} of {known} {who} are in more than one fold: the score is for known {met}. Expect less on new ones."
    return f"None of the {known} {who} is in more than one fold: the score is for {new}."


def _statuses(clips: Sequence[dict]) -> str:
    counts = Counter(clip["status"] for clip in clips)
    return f" ({', '.join(f'{count} {status}' for status, count in sorted(counts.items()))})" if counts else ""
