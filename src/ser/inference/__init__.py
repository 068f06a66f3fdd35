"""Models and runs opened again: what is on disk becomes predictions."""
