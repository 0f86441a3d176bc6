"""Typed plans, planning and training for nnU-Net's residual-encoder presets.

The public names are loaded on first use, so that `import resenc_plans` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resenc_plans.cost.estimate import Cost as Cost
    from resenc_plans.cost.estimate import estimate_cost as estimate_cost
    from resenc_plans.datasets.dataset import Dataset as Dataset
    from resenc_plans.datasets.dataset_json import DatasetJson as DatasetJson
    from resenc_plans.datasets.fingerprint import Fingerprint as Fingerprint
    from resenc_plans.datasets.fingerprint import IntensityProperties as IntensityProperties
    from resenc_plans.errors import ConfigurationError as ConfigurationError
    from resenc_plans.errors import DatasetError as DatasetError
    from resenc_plans.errors import FileError as FileError
    from resenc_plans.errors import FingerprintError as FingerprintError
    from resenc_plans.errors import InheritanceError as InheritanceError
    from resenc_plans.errors import PlanningError as PlanningError
    from resenc_plans.errors import PlansError as PlansError
    from resenc_plans.errors import ResencPlansError as ResencPlansError
    from resenc_plans.evaluation.evaluate import evaluate_folder as evaluate_folder
    from resenc_plans.evaluation.summary import Summary as Summary
    from resenc_plans.inference.folder import predict_folder as predict_folder
    from resenc_plans.inference.predictor import Predictor as Predictor
    from resenc_plans.inference.settings import PredictionSettings as PredictionSettings
    from resenc_plans.networks.build import build_network as build_network
    from resenc_plans.networks.registry import register_architecture as register_architecture
    from resenc_plans.planning.planner import create_plans as create_plans
    from resenc_plans.planning.presets import Preset as Preset
    from resenc_plans.planning.presets import register_preset as register_preset
    from resenc_plans.plans.architectures import OtherArchitecture as OtherArchitecture
    from resenc_plans.plans.architectures import (
        PlainConvUNetArchitecture as PlainConvUNetArchitecture,
    )
    from resenc_plans.plans.architectures import (
        ResidualEncoderUNetArchitecture as ResidualEncoderUNetArchitecture,
    )
    from resenc_plans.plans.checks.findings import Finding as Finding
    from resenc_plans.plans.configuration import Configuration as Configuration
    from resenc_plans.plans.configuration import ResamplingSettings as ResamplingSettings
    from resenc_plans.plans.configuration import ResolvedConfiguration as ResolvedConfiguration
    from resenc_plans.plans.diff import PlansDiff as PlansDiff
    from resenc_plans.plans.plans import Plans as Plans
    from resenc_plans.plans.training_settings import TrainingSettings as TrainingSettings
    from resenc_plans.preprocessing.preprocessor import Preprocessor as Preprocessor
    from resenc_plans.runs.archive import export_model as export_model
    from resenc_plans.runs.archive import import_model as import_model
    from resenc_plans.runs.find_model import find_model as find_model
    from resenc_plans.training.trainer import Trainer as Trainer
    from resenc_plans.visualization.overlay import draw_overlay as draw_overlay

_MODULE_OF = {
    "Configuration": "resenc_plans.plans.configuration",
    "ConfigurationError": "resenc_plans.errors",
    "Cost": "resenc_plans.cost.estimate",
    "Dataset": "resenc_plans.datasets.dataset",
    "DatasetError": "resenc_plans.errors",
    "DatasetJson": "resenc_plans.datasets.dataset_json",
    "FileError": "resenc_plans.errors",
    "Finding": "resenc_plans.plans.checks.findings",
    "Fingerprint": "resenc_plans.datasets.fingerprint",
    "FingerprintError": "resenc_plans.errors",
    "InheritanceError": "resenc_plans.errors",
    "IntensityProperties": "resenc_plans.datasets.fingerprint",
    "OtherArchitecture": "resenc_plans.plans.architectures",
    "PlainConvUNetArchitecture": "resenc_plans.plans.architectures",
    "PlanningError": "resenc_plans.errors",
    "Plans": "resenc_plans.plans.plans",
    "PlansDiff": "resenc_plans.plans.diff",
    "PlansError": "resenc_plans.errors",
    "PredictionSettings": "resenc_plans.inference.settings",
    "Predictor": "resenc_plans.inference.predictor",
    "Preprocessor": "resenc_plans.preprocessing.preprocessor",
    "Preset": "resenc_plans.planning.presets",
    "ResamplingSettings": "resenc_plans.plans.configuration",
    "ResencPlansError": "resenc_plans.errors",
    "ResidualEncoderUNetArchitecture": "resenc_plans.plans.architectures",
    "ResolvedConfiguration": "resenc_plans.plans.configuration",
    "Summary": "resenc_plans.evaluation.summary",
    "Trainer": "resenc_plans.training.trainer",
    "TrainingSettings": "resenc_plans.plans.training_settings",
    "build_network": "resenc_plans.networks.build",
    "create_plans": "resenc_plans.planning.planner",
    "draw_overlay": "resenc_plans.visualization.overlay",
    "estimate_cost": "resenc_plans.cost.estimate",
    "evaluate_folder": "resenc_plans.evaluation.evaluate",
    "export_model": "resenc_plans.runs.archive",
    "find_model": "resenc_plans.runs.find_model",
    "import_model": "resenc_plans.runs.archive",
    "predict_folder": "resenc_plans.inference.folder",
    "register_architecture": "resenc_plans.networks.registry",
    "register_preset": "resenc_plans.planning.presets",
}

__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'resenc_plans' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
