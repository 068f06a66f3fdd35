"""What a precision of fewer digits changes in a prediction, seen on some of its clips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import DataConfig
from ser.data.tables import Table
from ser.data.views import View
from ser.inference.prediction import predict_table
from ser.runtime.errors import UserError

MOST = 16
"""Of the clips, spread over all, a tenth is predicted once more, but no more than this: enough to see a network that bf16 harms."""


def beside_float32(model: str | Path, clips: Table, predicted: pd.DataFrame, data: DataConfig, views: Sequence[View] = ()) -> str:
    """One line: by how much the probabilities in `predicted` (a row a clip, one of them usable) are off, and how many labels are others.

    Not for a model that asks who speaks: what it makes of a clip may depend on how many of a voice are given.
    """
    usable = np.flatnonzero(predicted["label"].notna())
    count = min(MOST, max(1, len(usable) // 10))
    rows = usable[np.linspace(0, len(usable) - 1, count).round().astype(int)]
    try:
        with redirect_stdout(StringIO()):  # its warnings were said at the prediction
            exact, _ = predict_table(model, clips.take(rows), data, 1, "fp32", views=views, multi_label=True)  # one by one: least memory
    except UserError as error:
        return f"not compared with float32: {error}"
    given, names = predicted.iloc[rows], [name for name in predicted if name.startswith("p_")]
    off = np.abs(given[names].to_numpy() - exact[names].to_numpy()).max()
    other = int((given["label"].to_numpy() != exact["label"].to_numpy()).sum())
    compared = (
        f"beside float32, on {len(rows)} of {len(usable)} clips (others may be further off)"
        if len(rows) < len(usable)
        else "beside float32"
    )
    return f"{compared}: probabilities up to {off:.1e} off, {other} other label{'s' * (other != 1)}"
