"""Results that are too good or too bad to be believed without a look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ser.data.label_matrix import label_sets
from ser.inference.run_files import is_fitted_in_one_go

TOO_GOOD = 0.85


def chance_in_training(labels: np.ndarray, sampler: str) -> float:
    """Train accuracy of always the same answer, under the sampler that drew the clips. labels (N,): of the training part."""
    counts = np.bincount(label_sets(labels))
    return float(1 / np.count_nonzero(counts) if sampler == "balanced" else counts.max() / len(labels))


def _halfway(chance: float) -> float:
    """Between chance and all right: where one label has nearly all clips, 0.9 is nothing much, and three standard errors are beyond 1."""
    return (1 + chance) / 2


def suspicions(scores: Mapping[str, float], folds: Mapping[int, tuple[Mapping, pd.DataFrame]]) -> list[str]:
    """Sentences about what looks wrong. scores: of `ser.scoring.metrics.scores`. folds: number -> (metrics.json, history.csv).

    metrics.json of runs from before it held `chance` are judged by the commonest label of the validation part.
    """
    if "micro_f1" in scores:  # several labels a clip: how many whole sets are right says little of chance
        lost = scores["auc_low"] <= 0.5
        return [f"AUC {scores['auc']:.3f} is within chance (0.5): the model has learnt nothing that carries over."] if lost else []
    found = []
    if scores["accuracy"] > max(TOO_GOOD, _halfway(scores["majority"])):
        found.append(
            f"accuracy {scores['accuracy']:.3f} is over {TOO_GOOD}: suspect a leak. On acted speech by voices that aren't in the training "
            "part, large models reach about 0.80 from audio alone (words that give the emotion away, speakers that are known or found, "
            "synthetic or very easy clips can be above). Look for the same audio, text or speaker on both sides."
        )
    for number, (metrics, history) in folds.items():
        chance = metrics.get("chance", metrics["scores"]["majority"])
        # Three standard errors above chance: what guessing can reach by luck.
        lucky = min(chance + 3 * np.sqrt(chance * (1 - chance) / max(metrics["train_clips"], 1)), _halfway(chance))
        best = history["train_accuracy"].max()
        if best <= lucky:
            at_chance = f"(best {best:.3f}, always the same answer {chance:.3f})"
            found.append(
                f"fold {number} learnt nothing: not even of its training clips more than chance is right {at_chance}. Look at its labels "
                "and listen to some clips; another model may hear more."
                if is_fitted_in_one_go(metrics)
                else f"fold {number} did not converge: its train accuracy never left chance {at_chance}. Try another run.seed, a lower "
                "train.learning_rate or a longer train.warmup."
            )
    return found
