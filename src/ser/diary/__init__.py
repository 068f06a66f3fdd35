"""Emotions of texts: predicting tables of them, splitting a diary into sentences."""
