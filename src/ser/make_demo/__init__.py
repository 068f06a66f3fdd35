"""Synthetic demo data in the competition's form, so that everything can be tried before the real data is there."""
