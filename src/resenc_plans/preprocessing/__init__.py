"""Case to stored case: crop, normalise, resample, store; no torch."""

from resenc_plans.preprocessing.case import Recipe, StoredCase, preprocess_case
from resenc_plans.preprocessing.normalize import register_normalization
from resenc_plans.preprocessing.preprocessor import PreprocessingReport, Preprocessor, Progress
from resenc_plans.preprocessing.resampling.resample import resample_image, resample_labels
from resenc_plans.preprocessing.store.case_store import CaseStore, OpenCase, write_case

__all__ = [
    "CaseStore",
    "OpenCase",
    "PreprocessingReport",
    "Preprocessor",
    "Progress",
    "Recipe",
    "StoredCase",
    "preprocess_case",
    "register_normalization",
    "resample_image",
    "resample_labels",
    "write_case",
]
