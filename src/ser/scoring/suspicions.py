"""Results that are too good or too bad to be believed without a look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

TOO_GOOD = 0.85


def suspicions(scores: Mapping[str, float], folds: Mapping[int, tuple[Mapping, pd.DataFrame]]) -> list[str]:
    """Sentences about what looks wrong. scores: of `ser.scoring.metrics.scores`. folds: number -> (metrics.json, history.csv)."""
    found = []
    if scores["accuracy"] > TOO_GOOD:
        found.append(
            f"accuracy {scores['accuracy']:.3f} is over {TOO_GOOD}: suspect a leak. On acted speech by voices that aren't in the training "
            "part, large models reach about 0.80 from audio alone (synthetic or very easy clips can be above). Look for the same audio "
            "or the same speaker on both sides."
        )
    for number, (metrics, history) in folds.items():
        majority = metrics["scores"]["majority"]
        # Three standard errors above the commonest label: what guessing can reach by luck.
        chance = majority + 3 * np.sqrt(majority * (1 - majority) / max(metrics["train_clips"], 1))
        best = history["train_accuracy"].max()
        if best <= chance:
            found.append(
                f"fold {number} did not converge: its train accuracy never left chance (best {best:.3f}, always the commonest label "
                f"{majority:.3f}). Try another run.seed, a lower train.learning_rate or a longer train.warmup."
            )
    return found
