"""The K-fold training loop, its checkpoints and its tracking."""
