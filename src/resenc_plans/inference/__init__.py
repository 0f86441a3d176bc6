"""From an image to its segmentation: sliding window, export, ensembles."""

from resenc_plans.inference.export.labels import export_labels as export_labels
