"""Voice and words in one model."""
