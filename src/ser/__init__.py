"""Speech emotion recognition for competitions: folds, fine-tuning, blending, submissions."""

__version__ = "0.1.0"
