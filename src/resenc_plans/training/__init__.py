"""Stored cases to a checkpoint: sampling, augmentation, loss, the trainer; it needs torch."""
