"""Choosing a model: candidates, the must-have rules, what is measured on labelled clips, and the table of it all."""
