"""Case to stored case: crop, normalise, resample, store; no torch."""
