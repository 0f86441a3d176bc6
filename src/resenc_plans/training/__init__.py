"""Stored cases to checkpoint: patches, augmentation, losses, the trainer."""
