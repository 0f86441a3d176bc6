"""Stored cases: files, layout, manifest and checks."""
