"""Trying a model in the browser: what is answered about a clip, and the page around it."""
