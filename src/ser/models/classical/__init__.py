"""Classical models on statistics of whole clips."""
