"""Every figure that is told about predictions, in one place: scores, intervals, calibration, what looks suspicious."""
