"""Learning: pretrained encoders, new layers on them, and fine-tuning. Needs the `train` extra (torch)."""
