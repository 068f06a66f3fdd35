"""The models: a folder per family, and one registry that builds and opens them."""
