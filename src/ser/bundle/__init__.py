"""What a code competition runs: models, code and a runner in one folder that needs no network."""
