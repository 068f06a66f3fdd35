"""Evaluating a trained model from Python; `python -m ser.evaluate` does the same from the command line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ser.config import DataConfig
from ser.data.tables import Table, read_dataset
from ser.evaluate.evaluation import Evaluation, evaluate
from ser.evaluate.page import write_evaluation_page
from ser.evaluate.report import as_markdown, plot_class_metrics, write_evaluation
from ser.korean.dataset import write_clips
from ser.report.pictures import plot_confusion
from ser.runtime.errors import UserError
from ser.runtime.files import write_text

log = logging.getLogger(__name__)


class ModelEvaluator:
    """Scores a run folder, fold, model folder or hub name on labelled clips.

    output_dir: where report and pictures go, default reports/<name of the model's folder>.
    """

    def __init__(
        self, results_dir: str | Path, output_dir: str | Path | None = None, batch_size: int = 16, precision: str = "auto"
    ) -> None:
        self.model, self.batch_size, self.precision = str(results_dir), batch_size, precision
        self.output = Path(output_dir) if output_dir is not None else Path("reports") / Path(self.model).name
        self._found: Evaluation | None = None
        self._clips: tuple[Table, DataConfig] | None = None

    @property
    def found(self) -> Evaluation:
        """The evaluation that was made: labels, probabilities, mistakes and so on. Raises UserError before there is one."""
        if self._found is None:
            raise UserError("nothing is evaluated yet: call evaluate_dataset(paths, labels) first.")
        return self._found

    def evaluate_dataset(
        self,
        paths: Sequence[str | Path],
        labels: Sequence[str],
        mapping: Mapping[str, str] | None = None,
        speakers: Sequence[str] | None = None,
    ) -> dict:
        """Predict the clips and score them; labels are names of emotions in any alias. speakers: of each clip, where they are known.

        Returns n, accuracy with its 95 % interval, majority, macro_f1, uar, log_loss and ece. Raises UserError where labels of model and
        data can't be matched; mapping says what a label counts as, e.g. {"calm": "neutral"}.
        """
        clips = self.output / "clips.csv"
        write_clips(clips, paths, labels, speakers)
        data = DataConfig(root=str(clips), allow_absolute_paths=True)
        dataset = read_dataset(data)
        self._found = evaluate(self.model, dataset, data, mapping, self.batch_size, self.precision)
        self._clips = dataset.train, data
        for clip in self._found.unusable:
            log.warning("%s can't be used: %s", clip["path"], clip["status"])
        for warning in self._found.warnings:
            log.warning("%s", warning)
        return self._found.result

    def plot_confusion_matrix(self, save_path: str | Path | None = None) -> Path:
        """Shares and counts; returns the picture's path."""
        path = Path(save_path or self.output / "confusion.png")
        plot_confusion(self.found.labels, self.found.probabilities, self.found.label_names, path)
        return path

    def plot_class_metrics(self, save_path: str | Path | None = None) -> Path:
        """Bars of precision, recall and F1 per label; returns the picture's path."""
        path = Path(save_path or self.output / "classes.png")
        plot_class_metrics(self.found.classes, path)
        return path

    def generate_evaluation_report(self, save_path: str | Path | None = None) -> str:
        """Write report.html, report.md, report.json, all tables and pictures into the output folder; returns the report as text.

        save_path: a further place for the text.
        """
        write_evaluation(self.found, self.output)
        write_evaluation_page(self.found, *self._clips, self.output / "report.html")
        text = as_markdown(self.found)
        if save_path is not None:
            write_text(save_path, text)
        return text
