"""The must-have rules: each passes, fails or stays unknown, with the reason; and the tier that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ser.compare.candidates import Candidate
from ser.data.csv_input import shown
from ser.data.inputs import Input
from ser.data.labels import canonical, is_placeholder, label_set, map_label
from ser.runtime.errors import UserError

TARGET = label_set("subtitle7")
DIMENSIONS = {"arousal", "valence", "dominance", "activation", "pleasure"}
FEWEST_CLASSES = 5
MOST_MEMORY_MB = 8 * 1024
MOST_NEUTRAL = 0.5
LANGUAGES = {"en", "ko"}
UNKNOWN = None

TIERS = {
    1: "1: every rule passes",
    2: "2: usable with gaps",
    3: "3: not measured here",
    4: "rejected",
}


@dataclass(frozen=True)
class Verdict:
    """One rule's outcome: passed is True, False, or None where it isn't known."""

    rule: str
    passed: bool | None
    reason: str


def mapped(names: Sequence[str]) -> tuple[str | None, ...]:
    """Each class of a model as one of the seven labels, None where it stands for none of them."""

    def of(name: str) -> str | None:
        try:
            return map_label(canonical(name), TARGET)
        except UserError:
            return None

    return tuple(map(of, names))


def judge_input(takes: Input | None) -> Verdict:
    """Whether it hears, and needs nothing else; None: it takes no audio."""
    if takes == "audio":
        return Verdict("audio input", True, "hears")
    return Verdict("audio input", False, f"takes {takes or 'no audio'}; candidates are given audio alone")


def judge_classes(classes: Sequence[str] | None, unlearnt: Sequence[str] = ()) -> Verdict:
    """Whether the classes cover the seven; dimensional, binary and up to four classes are out.

    unlearnt: labels that the model has besides, which no training clip had: they count for nothing.
    """
    if unlearnt:
        verdict = judge_classes(classes)
        return replace(verdict, reason=f"{verdict.reason}; never learnt, without a training clip: {shown(unlearnt)}")
    if classes is None:
        return Verdict("classes", UNKNOWN, "classes not known")
    lowered = {str(name).strip().casefold() for name in classes}
    if lowered & DIMENSIONS:
        return Verdict("classes", False, f"dimensional ({', '.join(classes)}): values, not emotion classes")
    if len(classes) == 1:
        return Verdict("classes", False, "one output: a value, not emotion classes")
    if len(classes) == 2:
        return Verdict("classes", False, f"binary ({', '.join(classes)})")
    covered = set(mapped(classes))
    if covered == {None}:
        why = "have no names: write them into id2label of its config.json" if is_placeholder(classes[0]) else "name no emotion"
        return Verdict("classes", False, f"its labels ({shown(classes)}) {why}")
    lacking = [name for name in TARGET if name not in covered]
    if len(classes) < FEWEST_CLASSES:
        return Verdict("classes", False, f"{len(classes)} classes ({', '.join(classes)}); lacks {', '.join(lacking)}")
    if lacking:
        return Verdict("classes", False, f"{len(classes)} classes, lacks {', '.join(lacking)}")
    extra = f", {len(classes)} classes mapped" if tuple(classes) != TARGET and len(classes) > len(TARGET) else ""
    return Verdict("classes", True, f"covers the seven{extra}")


def judge_language(candidate: Candidate) -> Verdict:
    """Korean or English."""
    if candidate.languages is None:
        return Verdict("language", UNKNOWN, "language not known")
    told = ", ".join(candidate.languages)
    return Verdict("language", bool(LANGUAGES & set(candidate.languages)), told)


def judge_license(candidate: Candidate, use: str) -> Verdict:
    """Whether the licence allows the use, which is research or commercial."""
    if candidate.use is None:
        return Verdict("licence", UNKNOWN, f"{candidate.license or 'licence'} not checked: read the model's card")
    return Verdict("licence", candidate.use == "any" or use == "research", f"{candidate.license} ({candidate.use} use)")


def judge_measured(result: dict) -> list[Verdict]:
    """The rules that only measuring can tell, from what `ser.compare.scoring.score` returns."""
    memory, neutral, answers = result["peak_memory_mb"], result["neutral_rate"], result["answers"]
    batchable = result["batch_difference"]
    verdicts = [
        Verdict("memory", memory < MOST_MEMORY_MB, f"{memory:.0f} MB, allowed {MOST_MEMORY_MB}"),
        Verdict("batchable", batchable <= 1e-3, f"one by one and in a batch differ by {batchable:.0e}"),
        Verdict("neutral rate", neutral < MOST_NEUTRAL, f"{100 * neutral:.0f} % of the answers are neutral, allowed under 50 %"),
    ]
    if len(answers) == 1:
        verdicts.append(Verdict("better than one class", False, f"constant: answers {answers[0]} for every clip"))
    else:
        low, majority = result["accuracy_low"], result["majority"]
        told = f"accuracy at least {low:.3f} (95 %), always one class gives {majority:.3f}"
        verdicts.append(Verdict("better than one class", low > majority, told))
    return verdicts


def tier(verdicts: Sequence[Verdict], measured: bool, classes: Sequence[str] | None) -> str:
    """1 where all passes; 2 where only one or two emotions lack or language or licence isn't known; else not measured or rejected."""
    failed = [verdict for verdict in verdicts if verdict.passed is False and verdict.rule != "loadable"]
    gaps = classes is not None and len(classes) >= FEWEST_CLASSES and len(set(TARGET) - set(mapped(classes))) <= 2
    if any(verdict.rule != "classes" or not gaps for verdict in failed):
        return TIERS[4]
    if not measured:
        return TIERS[3]
    return TIERS[1] if all(verdict.passed for verdict in verdicts) else TIERS[2]
