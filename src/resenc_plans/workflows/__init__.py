"""Whole jobs that are made of the other packages."""
