"""Putting the probabilities of several runs together."""
