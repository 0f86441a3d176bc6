"""Measurements of the networks and steps that are trained."""
