"""Putting the probabilities of several runs together into one submission."""

from ser.blending.blend import blend_runs
from ser.blending.methods import METHODS

__all__ = ["METHODS", "blend_runs"]
