"""The page of an evaluation: report.html in its folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ser.config import DataConfig
from ser.data.tables import Table
from ser.evaluate.evaluation import Evaluation
from ser.report.page.content import Section, make_page
from ser.report.page.judged import Judged, clip_facts
from ser.report.page.writing import write_page
from ser.runtime.environment import environment


def write_evaluation_page(found: Evaluation, table: Table, data: DataConfig, path: Path) -> Path:
    """Write the page. table: the clips that were evaluated, by the ids of `found`; data: how they are decoded."""
    facts = clip_facts(table, data)
    judged = Judged(found.ids, found.labels, found.probabilities, found.label_names, facts.of(found.ids), facts.wave)
    mapping = pd.DataFrame(list(found.mapping.items()), columns=["label", "counted as"])
    unusable = pd.DataFrame(found.unusable, columns=["id", "status", "path"])
    tables = {"Labels counted as others": mapping, "Clips that could not be used": unusable}
    circumstances = pd.DataFrame([("model", found.model), ("data", found.data), *environment().items()], columns=["what", "value"])
    after = [Section("Made with", tables={name: rows for name, rows in tables.items() if len(rows)} | {"Circumstances": circumstances})]
    title = f"{Path(found.model).name} on {Path(found.data).name}"
    subtitle = f"Evaluation of {found.model} on {found.data}; confidence at temperature {found.temperature:.3f}."
    if found.views:
        subtitle += f" Heard in views: {found.views}."
    return write_page(make_page(title, subtitle, judged, found.result, found.warnings, after=after), path)
