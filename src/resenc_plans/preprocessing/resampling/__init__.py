"""Exact and fast resampling of images and segmentations."""
