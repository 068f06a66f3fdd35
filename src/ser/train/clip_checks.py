"""What a run says about its clips before it trains: which were cut, and whether a label has none, or lost all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ser.data.csv_input import count, shown
from ser.data.inputs import Store, cut_clips
from ser.data.label_matrix import describe_absent, occurring
from ser.runtime.errors import UserError
from ser.runtime.progress import say


def tell_cut(stores: dict[str, Store | None], max_seconds: float) -> dict[str, int]:
    """How many clips of each part (training, test) are longer than `data.max_seconds`, printed where there are any."""
    cut = {part: cut_clips(store) if store is not None else 0 for part, store in stores.items()}
    for part, store in stores.items():
        if cut[part]:
            say(
                f"warning: {cut[part]} of {len(store.report)} {part} clips are longer than data.max_seconds: "
                f"only their first {max_seconds:g} s are heard."
            )
    return cut


def check_no_label_vanished(before: np.ndarray, after: np.ndarray, label_names: Sequence[str]) -> None:
    """Raises UserError where all clips of a label were left out as unusable."""
    gone = [label_names[label] for label in sorted(occurring(before) - occurring(after))]
    if gone:
        raise UserError(f"not one clip of {count(gone, 'label')} can be used: {shown(gone)}. Without them the label can't be learned.")


def tell_absent(labels: np.ndarray, label_names: Sequence[str], wanted: str) -> None:
    """Print which labels no training clip has, where there are any. wanted: `data.labels`."""
    if told := describe_absent(labels, label_names, wanted):
        say(f"warning: {told}")
