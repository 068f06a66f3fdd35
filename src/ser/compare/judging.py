"""One candidate from its name to its tier."""

from __future__ import annotations

from dataclasses import dataclass, replace

from accelerate import Accelerator

from ser.compare.adapters import declared, open_candidate
from ser.compare.candidates import LISTED_ONLY, TRAINED_HERE, Candidate
from ser.compare.labelled import Labelled
from ser.compare.rules import Verdict, judge_classes, judge_input, judge_language, judge_license, judge_measured, mapped, tier
from ser.compare.scoring import measure, reset_peak_memory
from ser.runtime.errors import UserError


@dataclass(frozen=True)
class Judged:
    """A candidate with the outcome of each rule; result is None where it couldn't be measured."""

    candidate: Candidate
    classes: tuple[str, ...] | None
    verdicts: tuple[Verdict, ...]
    result: dict | None
    how: str
    tier: str

    @property
    def told(self) -> str:
        """The tier, and where it isn't the first what keeps it from that: the rules that fail, or else those that nobody can tell."""
        failed = [verdict for verdict in self.verdicts if verdict.passed is False]
        lacking = failed or [verdict for verdict in self.verdicts if verdict.passed is None]
        reasons = "; ".join(f"{verdict.rule}: {verdict.reason}" for verdict in lacking)
        return f"{self.tier} ({reasons})" if reasons else self.tier


def judge(candidate: Candidate, labelled: Labelled, accelerator: Accelerator, use: str, language: str | None, seed: int) -> Judged:
    """Judge one candidate; what goes wrong with it becomes a failed rule with the reason, so that the others are still told."""
    if candidate.kind in TRAINED_HERE and candidate.languages is None and language:
        candidate = replace(candidate, languages=(language,))
    verdicts, result, how, classes, unlearnt = [], None, "not measured", candidate.classes, ()
    if candidate.kind == LISTED_ONLY:
        verdicts += [judge_classes(classes), Verdict("loadable", False, candidate.note)]
        return _judged(candidate, classes, verdicts, None, how, use)
    try:
        said = declared(candidate, labelled)
        if said is not None:
            classes, unlearnt = said.classes, said.unlearnt
            if said.regression:
                verdicts.append(Verdict("classes", False, f"dimensional ({', '.join(classes)}): values, not emotion classes"))
            elif not any(mapped(classes)):
                verdicts.append(judge_classes(classes))
            verdicts.append(judge_input(said.takes))
        if not any(verdict.passed is False for verdict in verdicts):
            reset_peak_memory(accelerator.device)
            opened = open_candidate(candidate, labelled, accelerator, seed)
            classes, how = classes if unlearnt else opened.classes, opened.how
            if said is None:
                verdicts.append(Verdict("audio input", True, "hears"))
            if not any(mapped(classes)):  # every answer would count as the first of the seven
                raise UserError(judge_classes(classes).reason)
            result = measure(opened, labelled, accelerator.device)
            verdicts += [Verdict("loadable", True, "opened here"), *judge_measured(result)]
    except UserError as error:
        verdicts.append(Verdict("loadable", False, str(error)))
    if not any(verdict.rule == "classes" for verdict in verdicts):
        verdicts.insert(0, judge_classes(classes, unlearnt))
    return _judged(candidate, classes, verdicts, result, how, use)


def _judged(candidate: Candidate, classes: tuple | None, verdicts: list[Verdict], result: dict | None, how: str, use: str) -> Judged:
    verdicts += [judge_language(candidate), judge_license(candidate, use)]
    return Judged(candidate, classes, tuple(verdicts), result, how, tier(verdicts, result is not None, classes))
