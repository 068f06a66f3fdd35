"""Several experiments on one split, side by side."""
