"""Searching settings: many ordinary runs, and an honest word on the best of them."""
