"""What a run says about itself: pictures, tables and the report of a run folder."""

from ser.report.fold import fold_report
from ser.report.pictures import plot_confusion, plot_history
from ser.report.run import run_report

__all__ = ["fold_report", "plot_confusion", "plot_history", "run_report"]
