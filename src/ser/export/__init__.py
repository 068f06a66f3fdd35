"""A trained network for others: an ONNX file that is compared with the original, and a folder ready for the hub."""
