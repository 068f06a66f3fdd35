"""report.html: one self-contained page for a run, an ensemble or an evaluation, to look at and listen to instead of reading tables."""
