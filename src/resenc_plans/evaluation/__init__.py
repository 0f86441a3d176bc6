"""Segmentations compared with references: metrics, post-processing, choice among models."""
