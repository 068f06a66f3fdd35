"""The comparison as a table, a page and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser.compare.judging import Judged
from ser.compare.labelled import Labelled
from ser.compare.rules import MOST_NEUTRAL, TARGET, TIERS
from ser.data.csv_input import shown
from ser.report.pictures import save_figure
from ser.report.tables import markdown_table, without_formulas
from ser.runtime.files import write_csv, write_text
from ser.scoring.intervals import describe_interval, told_interval
from ser.scoring.metrics import majority_baseline

RULES = (
    *("classes", "audio input", "language", "loadable", "licence", "memory", "batchable"),
    *("neutral rate", "better than one class"),
)
NUMBERS = (
    *("n", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "macro_f1_low", "macro_f1_high"),
    *("uar", "uar_low", "uar_high", "neutral_rate", "neutral_rate_low", "neutral_rate_high"),
    *("seconds_per_clip", "real_time_factor", "peak_memory_mb"),
)
MARKS = {True: "pass", False: "FAIL", None: "unknown"}
COLOURS = dict(zip(TIERS.values(), ("#2ca02c", "#1f77b4", "#7f7f7f", "#d62728"), strict=True))
SHOWN = ("candidate", "kind", "tier", "accuracy", "accuracy_low", "accuracy_high", "majority", "macro_f1", "neutral_rate")


def write_choice(judged: Sequence[Judged], labelled: Labelled, output: Path) -> pd.DataFrame:
    """Write choice.csv, choice.md and choice.png to the folder; returns the table, the best first."""
    ranked = sorted(judged, key=lambda one: (one.tier, -(one.result or {}).get("accuracy", -1.0)))
    table = pd.DataFrame([_row(one) for one in ranked])
    write_csv(output / "choice.csv", without_formulas(table))
    measured = table[table["accuracy"].notna()]
    if len(measured):
        _plot(measured, majority_baseline(labelled.truth), output / "choice.png")
    write_text(output / "choice.md", _as_markdown(ranked, table, labelled, picture=bool(len(measured))))
    return table


def _row(one: Judged) -> dict:
    candidate, result = one.candidate, one.result or {}
    row = {"candidate": candidate.name, "kind": candidate.kind, "tier": one.tier}
    row |= {key: result.get(key, np.nan) for key in NUMBERS}
    row |= {
        "labels": "" if one.classes is None else " ".join(one.classes),
        "languages": " ".join(candidate.languages or ()),
        "license": candidate.license or "",
        "scored": one.how,
    }
    verdicts = {verdict.rule: verdict for verdict in one.verdicts}
    for rule in RULES:
        row[rule] = f"{MARKS[verdicts[rule].passed]}: {verdicts[rule].reason}" if rule in verdicts else ""
    return row


def _as_markdown(ranked: Sequence[Judged], table: pd.DataFrame, labelled: Labelled, picture: bool) -> str:
    counts = np.bincount(labelled.truth, minlength=len(TARGET))
    majority = TARGET[int(counts.argmax())]
    told = pd.DataFrame({"candidate": [shown([name]) for name in table["candidate"]], "kind": table["kind"], "tier": table["tier"]})
    for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("UAR", "uar"), ("neutral rate", "neutral_rate")):
        values = table[[key, f"{key}_low", f"{key}_high"]].to_numpy(dtype=float)
        told[f"{name} [95 %]"] = [_interval(*row) for row in values]
    told["s a clip"] = [_number(value, "{:.3f}") for value in table["seconds_per_clip"]]
    told["real-time factor"] = [_number(value, "{:.3f}") for value in table["real_time_factor"]]
    told["peak MB"] = [_number(value, "{:.0f}") for value in table["peak_memory_mb"]]
    base = counts.max() / counts.sum()
    # What always answering one class gets, so that nobody has to work it out.
    told.loc[len(told)] = [f"(always {majority})", "baseline", "–", f"{base:.3f}", *["–"] * 6]
    rules = pd.DataFrame([_marks(one) for one in ranked])
    parts = [
        f"# {len(ranked)} candidates on {counts.sum()} labelled clips",
        "Clips: " + ", ".join(f"{count} {name}" for name, count in zip(TARGET, counts, strict=True) if count) + ".",
        *(["![choice](choice.png)"] if picture else []),
        markdown_table(told),
        _how_to_read(labelled, majority, float(base)),
        "## Rules",
        markdown_table(rules),
        "## Reasons",
        *(_reasons(one) for one in ranked),
    ]
    return "\n\n".join(parts) + "\n"


def _marks(one: Judged) -> dict:
    marks = {verdict.rule: MARKS[verdict.passed] for verdict in one.verdicts}
    return {"candidate": shown([one.candidate.name])} | {rule: marks.get(rule, "–") for rule in RULES}


def _reasons(one: Judged) -> str:
    lines = [f"**{shown([one.candidate.name])}** ({one.tier}). Scored: {one.how}."]
    lines += [f"- {verdict.rule}: {MARKS[verdict.passed]}: {verdict.reason}" for verdict in one.verdicts]
    if one.candidate.note:
        lines.append(f"- note: {one.candidate.note}")
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])


def _how_to_read(labelled: Labelled, majority: str, base: float) -> str:
    lines = [
        f"Always answering {majority} gets {base:.3f}. In brackets: {describe_interval(told_interval(labelled.table.speakers))}. "
        "macro-F1 and UAR are means over the labels that occur. "
        f"Answers are mapped to {', '.join(TARGET)}; an answer that doesn't occur among these clips is wrong.",
        f"Candidates fitted here are asked only about clips of folds they weren't fitted to: {labelled.split}. Runs answer their own "
        "training clips out of fold, by their own split. Others are taken as they are; whether they have heard these clips isn't known.",
        "Seconds are from decoded audio to the answer, on this machine, in batches of 8; a run counts all its folds. Memory is the "
        "process's peak (with a GPU, the GPU's), Python included.",
        "Tier 1 passes every rule; tier 2 has gaps: one or two of the seven emotions lacking, or a language or licence nobody has stated.",
    ]
    if labelled.left_out:
        lines.append(f"{labelled.left_out} clips were left out: unusable, or of a label that is none of the seven.")
    return "\n".join(f"- {line}" for line in lines)


def _plot(table: pd.DataFrame, majority: float, png: Path) -> None:
    """Accuracy, macro-F1 and neutral rate with their intervals, the best candidate on top, coloured by tier."""
    from matplotlib.figure import Figure

    names = [name if len(name) <= 34 else f"…{name[-33:]}" for name in table["candidate"]]
    figure = Figure(figsize=(12, 2.0 + 0.45 * len(table)), layout="constrained")
    axes_row = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(table))
    for axes, (key, title) in zip(
        axes_row, (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("neutral_rate", "share of neutral answers")), strict=True
    ):
        values, low, high = (table[column].to_numpy(dtype=float) for column in (key, f"{key}_low", f"{key}_high"))
        for place, tier in zip(places, table["tier"], strict=True):
            reach = [[max(0, values[place] - low[place])], [max(0, high[place] - values[place])]]
            axes.errorbar(values[place], place, xerr=reach, fmt="o", capsize=3, color=COLOURS[tier])
            axes.annotate(f"{values[place]:.2f}", (values[place], place), (0, 5), textcoords="offset points", ha="center", fontsize=8)
        axes.set(xlim=(-0.03, 1.03), xlabel=f"{title}, 95 % interval", yticks=places, yticklabels=names)
        axes.grid(axis="x", alpha=0.3)
    axes_row[0].axvline(majority, color="black", linestyle=":", label=f"always one class ({majority:.2f})")
    axes_row[2].axvline(MOST_NEUTRAL, color="black", linestyle="--", label="most neutral answers allowed")
    axes_row[0].set_ylim(len(table) - 0.4, -0.6)
    for tier in dict.fromkeys(table["tier"]):
        axes_row[0].plot([], [], "o", color=COLOURS[tier], label=f"tier {tier}" if tier[0].isdigit() else tier)
    accuracy, neutral = (axes.get_legend_handles_labels() for axes in (axes_row[0], axes_row[2]))
    figure.legend(accuracy[0] + neutral[0], accuracy[1] + neutral[1], loc="outside lower center", ncols=4, fontsize=8)
    save_figure(figure, png)


def _interval(value: float, low: float, high: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else form.format(value)
