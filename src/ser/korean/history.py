"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import pandas as pd

from ser.report.pictures import plot_history
from ser.runtime.errors import UserError

COLUMNS = {
    "train_loss": "train_loss",
    "val_loss": "valid_loss",
    "train_accuracy": "train_accuracy",
    "val_accuracy": "valid_accuracy",
    "val_f1": "valid_macro_f1",
    "val_uar": "valid_uar",
}
"""Names here -> columns of a fold's history.csv."""


class History(TypedDict):
    """Values by epoch, the first epoch first; val_f1 is macro-F1."""

    train_loss: list[float]
    val_loss: list[float]
    train_accuracy: list[float]
    val_accuracy: list[float]
    val_f1: list[float]
    val_uar: list[float]


def read_history(fold_folder: str | Path) -> History:
    """The history of a fold folder (outputs/X/fold_0)."""
    table = pd.read_csv(Path(fold_folder) / "history.csv")
    return {name: table[column].tolist() for name, column in COLUMNS.items()}


def plot_training_history(history: Mapping[str, Sequence[float]], save_path: str | Path) -> None:
    """Draw losses and scores by epoch into a picture.

    history: lists of equal length under train_loss, val_loss, val_accuracy, val_f1 (all four needed), train_accuracy and val_uar.
    """
    missing = [name for name in ("train_loss", "val_loss", "val_accuracy", "val_f1") if name not in history]
    lengths = {len(values) for values in history.values()}
    if missing or lengths in ({0}, set()) or len(lengths) > 1:
        told = f"missing: {', '.join(missing)}" if missing else f"lengths: {sorted(lengths)}"
        raise UserError(f"history: {told}. It needs lists of one length: train_loss, val_loss, val_accuracy, val_f1.")
    table = pd.DataFrame({column: history[name] for name, column in COLUMNS.items() if name in history})
    table.insert(0, "epoch", range(1, len(table) + 1))
    plot_history(table, save_path)
