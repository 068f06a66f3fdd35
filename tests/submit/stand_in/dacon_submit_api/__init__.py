"""Stands in for DACON's wheel, which only DACON hands out: the same call, the same answer, over HTTP."""
