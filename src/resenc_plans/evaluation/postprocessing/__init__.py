"""Removal of all but the largest component, where it helps."""
