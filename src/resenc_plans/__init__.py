"""Typed plans, planning and training for nnU-Net's residual-encoder presets.

The public names are loaded on first use, so that `import resenc_plans` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset as Dataset
    from resenc_plans.datasets.fingerprint import Fingerprint as Fingerprint
    from resenc_plans.errors import ResencPlansError as ResencPlansError
    from resenc_plans.networks.build import build_network as build_network
    from resenc_plans.planning.planner import create_plans as create_plans
    from resenc_plans.plans.models import Configuration as Configuration
    from resenc_plans.plans.models import ResolvedConfiguration as ResolvedConfiguration
    from resenc_plans.plans.plans import Plans as Plans
    from resenc_plans.preprocessing.preprocessor import Preprocessor as Preprocessor

_MODULE_OF = {
    "Configuration": "resenc_plans.plans.models",
    "Dataset": "resenc_plans.datasets.dataset",
    "Fingerprint": "resenc_plans.datasets.fingerprint",
    "Plans": "resenc_plans.plans.plans",
    "Preprocessor": "resenc_plans.preprocessing.preprocessor",
    "ResencPlansError": "resenc_plans.errors",
    "ResolvedConfiguration": "resenc_plans.plans.models",
    "build_network": "resenc_plans.networks.build",
    "create_plans": "resenc_plans.planning.planner",
}

__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'resenc_plans' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
