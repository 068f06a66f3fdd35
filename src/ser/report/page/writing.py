"""From a page's content to one HTML file that needs no network."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from ser.report.page.content import Page
from ser.runtime.files import write_text


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page. Returns its path."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ser.report.page", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = _cell
    template = environment.get_template("page.html")
    here = files("ser.report.page")
    text = template.render(
        page=page,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        data=_embedded({"names": page.shown_names, "cells": page.cells, "counts": page.confusion.tolist(), "clips": page.clips}),
    )
    write_text(path, text)
    return Path(path)


def _embedded(value: object) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def _cell(value: object) -> str:
    if value is None or (not isinstance(value, (str, list, tuple)) and pd.isna(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, (float, np.floating)) else str(value)
