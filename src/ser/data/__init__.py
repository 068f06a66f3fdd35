"""What is given: tables, labels and votes, clips as they are kept, folds, augmentation, batches."""
