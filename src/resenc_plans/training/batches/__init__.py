"""Batches of patches: sampling, augmentation and loading."""
