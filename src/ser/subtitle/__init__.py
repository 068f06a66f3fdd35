"""Emotion subtitles: what was said in a film, coloured by how it was said."""
