"""What every part stands on: errors a person can act on, files written whole, seeds by name, devices, memory told by stage."""
