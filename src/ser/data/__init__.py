"""Tables, the packed clip store, folds and batches."""
