"""The mean of what a model says of a clip in several views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.data.inputs import Store
from ser.data.views import PLAIN, View, view_of

SMALLEST = 1e-6
"""Log probabilities are cut here, so that one view's certainty can't outvote the others."""


def mean_over_views(
    predict: Callable[[Store, np.ndarray, str], np.ndarray],
    store: Store,
    rows: np.ndarray,
    views: Sequence[View],
    max_seconds: float,
    compares_clips: bool,
) -> np.ndarray:
    """Probabilities (len(rows), labels): the mean in log space over the clip as it is and its views.

    predict: a store, its rows, what the view is called -> probabilities. store: of a model that hears max_seconds at once, decoded as long
    as `needed_seconds` says. A view that is no other clip (a crop of a short one) doesn't count. Without views, what is predicted.
    """
    cropped = any(view.kind == "crops" for view in views)
    first = predict(view_of(store, PLAIN, max_seconds) if cropped else store, rows, "")
    if not views:
        return first
    total, count = _logs(first), np.ones(len(rows))
    for view in views:
        differs = view.changes(store.frames[rows], round(max_seconds * SAMPLE_RATE))
        if not differs.any():
            continue
        # A model that compares clips must see all of them.
        chosen = rows if compares_clips else rows[differs]
        found = predict(view_of(store, view, max_seconds), chosen, str(view))
        total[differs] += _logs(found[differs] if compares_clips else found)
        count[differs] += 1
    mean = np.exp(total / count[:, None])
    return mean / mean.sum(axis=1, keepdims=True)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, SMALLEST, 1))
