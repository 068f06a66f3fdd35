"""What this repository's ways cost beside the ordinary ones: python -m benchmarks --help."""
