"""Sending a submission to a competition's site, with a ledger that tells the truth."""
