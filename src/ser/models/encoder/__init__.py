"""transformers' audio encoders: pretrained, frozen, fine-tuned."""
