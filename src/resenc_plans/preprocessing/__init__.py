"""Case to stored case: crop, normalise, resample, store; no torch.

The public names are loaded on first use: a part of preprocessing need not load the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resenc_plans.preprocessing.normalize import register_normalization
    from resenc_plans.preprocessing.preprocessor import (
        PreprocessingProgress,
        PreprocessingReport,
        Preprocessor,
    )
    from resenc_plans.preprocessing.resampling.resample import resample_image, resample_labels

_MODULE_OF = {
    "Preprocessor": "preprocessor",
    "PreprocessingProgress": "preprocessor",
    "PreprocessingReport": "preprocessor",
    "register_normalization": "normalize",
    "resample_image": "resampling.resample",
    "resample_labels": "resampling.resample",
}

__all__ = [
    "PreprocessingProgress",
    "PreprocessingReport",
    "Preprocessor",
    "register_normalization",
    "resample_image",
    "resample_labels",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'resenc_plans.preprocessing' has no attribute {name!r}")
    return getattr(import_module(f"resenc_plans.preprocessing.{_MODULE_OF[name]}"), name)
