"""Models of texts: a transformers encoder, and letter n-grams."""
