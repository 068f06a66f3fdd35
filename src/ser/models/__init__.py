"""Networks: one file per architecture, one registry."""
