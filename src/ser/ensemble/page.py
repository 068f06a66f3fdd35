"""The page of a blend: submissions/NAME.html."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from ser.ensemble.members import Members
from ser.report.page.charts import interval_chart
from ser.report.page.content import Section, make_page
from ser.report.page.judged import NOTHING_KNOWN, ClipFacts, Judged, open_run_facts
from ser.report.page.writing import write_page
from ser.runtime.environment import environment
from ser.runtime.errors import UserError


def write_blend_page(members: Members, blended: np.ndarray, record: Mapping, path: Path) -> Path:
    """Write the page. blended: out-of-fold probabilities (n, C) of the blend; record: what NAME.json holds."""
    label_names = members.runs[0].label_names
    facts = _facts(members)
    judged = Judged(members.ids, members.labels, blended, label_names, facts.of(members.ids), facts.wave)
    given = pd.DataFrame(list(record["label_counts"].items()), columns=["label", "test clips" if members.test_ids else "training clips"])
    after = [
        Section("Labels given", tables={"The submission's labels": given}),
        Section("Made with", tables={"Circumstances": pd.DataFrame(_circumstances(record), columns=["what", "value"])}),
    ]
    page = make_page(
        f"{path.stem}: blend of {len(members.runs)}", f"{record['method']}; {record['estimate']}.", judged, record["oof"],
        record["warnings"], _about_members(record), after,
    )  # fmt: skip
    return write_page(page, path)


def _about_members(record: Mapping) -> list[Section]:
    runs = record["runs"]
    names = [f"{number} {Path(run['run']).name}" for number, run in enumerate(runs, 1)]
    scores = pd.DataFrame([run["oof"] for run in runs]).drop(columns=["interval_by", "speakers"])
    scores.insert(0, "group", names)
    chart = interval_chart(pd.concat([scores, pd.DataFrame([record["oof"] | {"group": "the blend"}])]), "accuracy of members and blend")
    table = scores.rename(columns={"group": "run"}).assign(weight=[run["weight"] for run in runs], split=[run["split"] for run in runs])
    sentences = []
    if len(runs) > 1:
        if any(run["weight"] is not None for run in runs):
            weights = ", ".join(f"{name} {run['weight']:.2f}" for name, run in zip(names, runs, strict=True) if run["weight"] is not None)
            sentences.append(f"Weights: {weights}.")
        sentences += [
            f"Against {other}: {100 * gain['difference']:+.1f} points [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}] "
            "(95 % interval, paired)."
            for other, gain in (
                (f"the best run, {record['best_run']}", record["gain_over_best_run"]),
                ("the plain mean", record["gain_over_plain_mean"]),
            )
        ]
    sections = [Section("Members", sentences, [chart], {"Members": table})]
    if len(runs) > 1:
        correlation = pd.DataFrame(record["error_correlation"], columns=[str(number) for number in range(1, len(runs) + 1)])
        correlation.insert(0, "run", names)
        sentence = "Correlation of being wrong. Of members that are about as good, those with a low one gain most from each other."
        sections.append(Section("Correlation", [sentence], tables={"Correlation of errors": correlation}))
    return sections


def _circumstances(record: Mapping) -> list[tuple[str, object]]:
    kept = ("submission", "sha256", "method", "data_fingerprint", "sample", "test_clips")
    return [*((key.replace("_", " "), record[key]) for key in kept), *environment().items()]


def _facts(members: Members) -> ClipFacts:
    """What the data folder of a run says of the clips; a blend is made without it where the folder has gone or holds others."""
    for run in members.runs:
        with suppress(UserError, OSError):
            return open_run_facts(run.folder)
    return NOTHING_KNOWN
