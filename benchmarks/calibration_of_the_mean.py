"""Which temperature the mean of the folds should have, tried on made-up tasks with new clips whose labels are known.

    python benchmarks/calibration_of_the_mean.py        # a few minutes on one core

Five classifiers that are too sure or too unsure, trained on four fifths of the clips each. Shown are calibration error (ECE) / log loss on
new clips: unscaled; every fold scaled by the temperature of single folds before the mean; the temperature this repository estimates without
labels from how far the folds differ; the temperature fitted on 200 labelled new clips.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from ser.scoring.calibration import expected_calibration_error, fit_temperature, scaled, temperature_of_the_mean
from ser.scoring.metrics import log_loss

CLASSES, FOLDS, NEW, UNLABELLED, LABELLED, SEEDS = 6, 5, 2_000, 300, 200, 4
WAYS = ("unscaled", "folds scaled", "from the folds", "200 labelled")
TASKS = {  # model, training clips, dimensions, distance of the classes
    "linear, hardly regularised": (lambda seed: LogisticRegression(C=100, max_iter=500), 400, 60, 0.25),
    "linear, few clips": (lambda seed: LogisticRegression(C=1, max_iter=500), 150, 60, 0.3),
    "network, overfitted": (lambda seed: MLPClassifier((64,), max_iter=60, alpha=0, random_state=seed), 500, 40, 0.3),
    "network, stopped early": (lambda seed: MLPClassifier((64,), max_iter=8, learning_rate_init=0.003, random_state=seed), 700, 40, 0.3),
    "network, trained long": (lambda seed: MLPClassifier((128,), max_iter=200, alpha=0, random_state=seed), 700, 20, 0.45),
}


def draw(rng: np.random.Generator, count: int, middles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points around the middle of their class."""
    labels = rng.integers(0, CLASSES, count)
    return middles[labels] + rng.normal(size=(count, middles.shape[1])), labels


def trial(make, clips: int, dimensions: int, distance: float, seed: int) -> list[tuple[float, float]]:
    """Calibration error and log loss of each way."""
    rng = np.random.default_rng(seed)
    middles = distance * rng.normal(size=(CLASSES, dimensions))
    (points, labels), (new_points, new_labels) = draw(rng, clips, middles), draw(rng, NEW, middles)
    fold_of, oof, new = np.arange(clips) % FOLDS, np.zeros((clips, CLASSES)), []
    for fold in range(FOLDS):
        model = make(10 * seed + fold).fit(points[fold_of != fold], labels[fold_of != fold])
        oof[fold_of == fold] = model.predict_proba(points[fold_of == fold])
        new.append(model.predict_proba(new_points))
    new, single = np.array(new), fit_temperature(labels, oof)
    mean, few = new.mean(axis=0), rng.choice(NEW, LABELLED, replace=False)
    served = (
        mean,
        np.mean([scaled(part, single) for part in new], axis=0),
        scaled(mean, temperature_of_the_mean(labels, oof, new[:, :UNLABELLED])),
        scaled(mean, fit_temperature(new_labels[few], mean[few])),
    )
    return [(expected_calibration_error(new_labels, part), log_loss(new_labels, part)) for part in served]


def main() -> None:
    warnings.filterwarnings("ignore", "Stochastic Optimizer")
    print("| task | " + " | ".join(WAYS) + " |\n|---|" + "---|" * len(WAYS))
    for name, (make, *task) in TASKS.items():
        figures = np.mean([trial(make, *task, seed) for seed in range(SEEDS)], axis=0)
        print(f"| {name} | " + " | ".join(f"{error:.3f} / {loss:.3f}" for error, loss in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
