"""Tables as text for terminal and Markdown; and cells of a CSV made harmless, so that no text acts as a spreadsheet's formula."""

from __future__ import annotations

import pandas as pd


def text_table(table: pd.DataFrame) -> str:
    """Aligned columns for the terminal and for logs; fractions with three decimals, missing values as –."""
    return table.map(_cell).to_string(index=False)


def markdown_table(table: pd.DataFrame) -> str:
    """A Markdown table; numbers as in `text_table`."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.map(_cell).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A copy in which no text can act as a formula in a spreadsheet: such cells get a leading apostrophe (as OWASP advises)."""
    safe = table.copy()
    for name in safe.select_dtypes(exclude="number"):
        safe[name] = [
            f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell for cell in safe[name]
        ]
    return safe


def _cell(value: object) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
