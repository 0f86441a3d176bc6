"""Typed plans, planning and training for nnU-Net's residual-encoder presets.

The public names are loaded on first use, so that `import resenc_plans` costs nothing. They are the
imports for type checkers below, which are read from this file: each name is written down once.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resenc_plans.cost.estimate import Cost as Cost
    from resenc_plans.cost.estimate import estimate_cost as estimate_cost
    from resenc_plans.datasets.dataset import Dataset as Dataset
    from resenc_plans.datasets.dataset_json import DatasetJson as DatasetJson
    from resenc_plans.datasets.demo import write_phantom as write_phantom
    from resenc_plans.datasets.finding import Finding as Finding
    from resenc_plans.datasets.fingerprint import Fingerprint as Fingerprint
    from resenc_plans.datasets.fingerprint import IntensityProperties as IntensityProperties
    from resenc_plans.datasets.images.images import Image as Image
    from resenc_plans.datasets.images.images import read_image as read_image
    from resenc_plans.datasets.images.images import read_label as read_label
    from resenc_plans.datasets.images.images import write_label as write_label
    from resenc_plans.errors import ConfigurationError as ConfigurationError
    from resenc_plans.errors import DatasetError as DatasetError
    from resenc_plans.errors import DeviceError as DeviceError
    from resenc_plans.errors import EvaluationError as EvaluationError
    from resenc_plans.errors import FileError as FileError
    from resenc_plans.errors import FingerprintError as FingerprintError
    from resenc_plans.errors import InheritanceError as InheritanceError
    from resenc_plans.errors import LockedError as LockedError
    from resenc_plans.errors import ModelError as ModelError
    from resenc_plans.errors import NetworkError as NetworkError
    from resenc_plans.errors import PlanningError as PlanningError
    from resenc_plans.errors import PlansError as PlansError
    from resenc_plans.errors import PredictionError as PredictionError
    from resenc_plans.errors import PreprocessingError as PreprocessingError
    from resenc_plans.errors import ResencPlansError as ResencPlansError
    from resenc_plans.errors import StudyError as StudyError
    from resenc_plans.errors import TrainingError as TrainingError
    from resenc_plans.errors import UsageError as UsageError
    from resenc_plans.errors import WorkerError as WorkerError
    from resenc_plans.evaluation.evaluate import Evaluation as Evaluation
    from resenc_plans.evaluation.evaluate import evaluate as evaluate
    from resenc_plans.evaluation.metrics import count_voxels as count_voxels
    from resenc_plans.evaluation.postprocessing.postprocess import Determination as Determination
    from resenc_plans.evaluation.postprocessing.postprocess import Postprocessing as Postprocessing
    from resenc_plans.evaluation.postprocessing.postprocess import (
        apply_postprocessing as apply_postprocessing,
    )
    from resenc_plans.evaluation.postprocessing.postprocess import postprocess as postprocess
    from resenc_plans.evaluation.selection import Selection as Selection
    from resenc_plans.evaluation.selection import select_models as select_models
    from resenc_plans.evaluation.summary import Summary as Summary
    from resenc_plans.evaluation.surface import measure_surfaces as measure_surfaces
    from resenc_plans.evaluation.task import EvaluationTask as EvaluationTask
    from resenc_plans.inference.ensemble import ensemble_folders as ensemble_folders
    from resenc_plans.inference.export.labels import export_labels as export_labels
    from resenc_plans.inference.folder import predict_folder as predict_folder
    from resenc_plans.inference.predictor import Predictor as Predictor
    from resenc_plans.inference.settings import PredictionSettings as PredictionSettings
    from resenc_plans.networks.build import build_network as build_network
    from resenc_plans.networks.registry import register_architecture as register_architecture
    from resenc_plans.planning.baselines.baseline import Baseline as Baseline
    from resenc_plans.planning.baselines.registry import find_baseline as find_baseline
    from resenc_plans.planning.baselines.registry import register_baseline as register_baseline
    from resenc_plans.planning.planner import create_plans as create_plans
    from resenc_plans.planning.presets import Preset as Preset
    from resenc_plans.planning.presets import find_preset as find_preset
    from resenc_plans.planning.presets import register_preset as register_preset
    from resenc_plans.plans.architectures import OtherArchitecture as OtherArchitecture
    from resenc_plans.plans.architectures import (
        PlainConvUNetArchitecture as PlainConvUNetArchitecture,
    )
    from resenc_plans.plans.architectures import (
        ResidualEncoderUNetArchitecture as ResidualEncoderUNetArchitecture,
    )
    from resenc_plans.plans.configuration import Configuration as Configuration
    from resenc_plans.plans.configuration import ResamplingSettings as ResamplingSettings
    from resenc_plans.plans.configuration import ResolvedConfiguration as ResolvedConfiguration
    from resenc_plans.plans.diff import PlansDiff as PlansDiff
    from resenc_plans.plans.plans import Plans as Plans
    from resenc_plans.plans.training_settings import TrainingSettings as TrainingSettings
    from resenc_plans.preprocessing.preprocessor import Preprocessor as Preprocessor
    from resenc_plans.profiling.doctor import MachineReport as MachineReport
    from resenc_plans.profiling.doctor import examine_machine as examine_machine
    from resenc_plans.profiling.trace import trace_cost as trace_cost
    from resenc_plans.runs.archive import export_model as export_model
    from resenc_plans.runs.archive import import_model as import_model
    from resenc_plans.runs.comparability import RunComparison as RunComparison
    from resenc_plans.runs.comparability import compare_runs as compare_runs
    from resenc_plans.runs.find_model import find_model as find_model
    from resenc_plans.study.compare import compare as compare
    from resenc_plans.study.comparison import Comparison as Comparison
    from resenc_plans.study.unattended.study import Study as Study
    from resenc_plans.training.trainer import Trainer as Trainer
    from resenc_plans.visualization.overlay import draw_overlay as draw_overlay
    from resenc_plans.workflows.plan_and_preprocess import PreparedDataset as PreparedDataset
    from resenc_plans.workflows.plan_and_preprocess import (
        plan_and_preprocess as plan_and_preprocess,
    )
    from resenc_plans.workflows.train_fold import TrainedFold as TrainedFold
    from resenc_plans.workflows.train_fold import train_fold as train_fold


@cache
def _module_of() -> dict[str, str]:
    """The module of each public name, as the imports above state it."""
    import ast

    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    statements = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in statements for alias in node.names}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name == "__all__":
        return ["__version__", *sorted(_module_of())]
    if name.startswith("__") or name not in _module_of():
        raise AttributeError(f"module 'resenc_plans' has no attribute {name!r}")
    return getattr(import_module(_module_of()[name]), name)


def __dir__() -> list[str]:
    return ["__version__", *sorted(_module_of())]
