"""The mean of what a model says of a clip in several views, and what that brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser.audio import SAMPLE_RATE
from ser.data.inputs import Store
from ser.data.views import PLAIN, View, view_of
from ser.scoring.metrics import log_loss, paired_difference

SMALLEST = 1e-6
"""Log probabilities are cut here, so that one view's certainty can't outvote the others."""


def mean_over_views(
    predict: Callable[[Store, np.ndarray, str], np.ndarray],
    store: Store,
    rows: np.ndarray,
    views: Sequence[View],
    max_seconds: float,
    compares_clips: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (len(rows), labels): the mean in log space over the clip as it is and its views; and those of the clip as it is.

    predict: a store, its rows, what the view is called -> probabilities. store: of a model that hears max_seconds at once, decoded as long
    as `needed_seconds` says. A view that is no other clip (a crop of a short one) doesn't count. Without views, what is predicted.
    """
    cropped = any(view.kind == "crops" for view in views)
    first = predict(view_of(store, PLAIN, max_seconds) if cropped else store, rows, "")
    if not views:
        return first, first
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
    return mean / mean.sum(axis=1, keepdims=True), first


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, SMALLEST, 1))


@dataclass(frozen=True)
class ViewsGain:
    """In which views clips were heard besides as they are, and how much better that was than as they are alone.

    gain: of `scoring.metrics.paired_difference`. log_loss: the difference in it, below 0 where the views are better.
    """

    views: tuple[str, ...]
    gain: dict
    log_loss: float

    def __str__(self) -> str:
        low, difference, high = (f"{100 * self.gain[name]:+.1f}" for name in ("low", "difference", "high"))
        return (
            f"the views {', '.join(self.views)} against the clips as they are alone: {difference} points of accuracy [{low}, {high}] "
            f"(95 % interval, paired), log loss {self.log_loss:+.3f}"
        )


def gain_of_views(
    views: Sequence[View], labels: np.ndarray, in_views: np.ndarray, as_they_are: np.ndarray, speakers: Sequence[str | None] | None
) -> ViewsGain:
    """What hearing clips in views brought: (N, labels) probabilities of the same N labelled clips, in views and without."""
    gain = paired_difference(labels, in_views, as_they_are, speakers)
    return ViewsGain(tuple(map(str, views)), gain, log_loss(labels, in_views) - log_loss(labels, as_they_are))
