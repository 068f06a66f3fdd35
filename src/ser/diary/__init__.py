"""Emotions of a text: a diary split into sentences, each classified, and their shares."""
