"""Putting the probabilities of several runs together into one submission."""
