"""The plans of a study's methods, and the networks that are the caller's own."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.errors import NetworkError, PlanningError, StudyError
from resenc_plans.files import user_path
from resenc_plans.folders import TRAINER_NAME
from resenc_plans.networks.imports import import_object
from resenc_plans.planning.baselines.registry import find_baseline
from resenc_plans.planning.planner import plan_dataset
from resenc_plans.planning.settings import PlanningSettings
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.run_record import OwnCode
from resenc_plans.study.unattended.study_file import StudyMethod

if TYPE_CHECKING:
    from torch import nn

_DATASET = "{dataset}"


def plan_method(
    name: str, method: StudyMethod, dataset: Dataset, fingerprint: Fingerprint, root: Path
) -> Plans:
    """The plans of a method for a dataset, with the changed configuration, not yet saved.

    Raises
    ------
    ResencPlansError
        They cannot be made.
    """
    try:
        plans = _unchanged(method, dataset, fingerprint, root)
    except PlanningError as error:
        if method.baseline is None:
            raise
        raise StudyError(f"methods.{name}.baseline: {error}") from None
    config = plans.resolve(method.configuration)
    if config.previous_stage is not None:
        raise StudyError(
            f"methods.{name}: {config.name} is the second stage of a cascade, which a study cannot "
            "train. Choose another configuration."
        )
    if method.changes:
        changes = dict(method.changes)
        keep = bool(changes.pop("keep_topology", False))
        plans.derive(
            trained_configuration(name, method),
            from_=method.configuration,
            keep_topology=keep,
            **changes,
        )
    return plans


def trained_configuration(name: str, method: StudyMethod) -> str:
    """The name of the configuration that is trained."""
    if not method.changes:
        return method.configuration
    slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return f"{method.configuration}_{slug}"


def trainer_name(name: str, method: StudyMethod, shared: str | None = None) -> str:
    """The first part of the name of the method's models.

    It is that of nnU-Net's trainer, `shared` if all methods have another one, where the study's
    settings and the plans are all that is different.
    """
    own = method.network is not None or method.settings
    return name if own else shared or TRAINER_NAME


def own_network(
    method: StudyMethod,
    config: ResolvedConfiguration,
    dataset: Dataset,
    allow_import: Collection[str],
) -> "nn.Module | None":
    """The network of the method's import path; None where the plans name it.

    Raises
    ------
    NetworkError
        It may not be imported, or is no network.
    """
    if method.network is None:
        return None
    from torch import nn

    make = import_object(method.network, allow_import)
    channels, heads = input_channels(config, dataset.labels), dataset.labels.num_heads
    network = make(channels, heads)
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{method.network}({channels}, {heads}) makes no PyTorch network.")
    return network


def network_code(method: StudyMethod, allow_import: Collection[str]) -> OwnCode | None:
    """Where the method's network is made; None where the plans name it.

    Raises
    ------
    NetworkError
        It may not be imported.
    """
    if method.network is None:
        return None
    return OwnCode.of(import_object(method.network, allow_import))


def other_source(code: OwnCode, folder: Path) -> str:
    """Why a training is not gone on with, nor its method trained beside it."""
    return (
        f"The source of {code} is not that with which {folder} was trained. Restore it, or give "
        "the changed network another name, under which all is trained again"
    )


def folder_of(text: str, dataset: str, root: Path) -> Path:
    """A path of the study's file, which may name the dataset, and counts from its folder.

    Raises
    ------
    FileError
        No file can have that path.
    """
    return root / user_path(text.replace(_DATASET, dataset))


def _unchanged(
    method: StudyMethod, dataset: Dataset, fingerprint: Fingerprint, root: Path
) -> Plans:
    if method.plans is not None:
        return Plans.load(folder_of(method.plans, dataset.name, root))
    if method.baseline is not None:
        return find_baseline(method.baseline).plan(fingerprint, dataset, provenance=True).plans
    scaled = None if method.gpu_memory_gb is None else f"{method.preset}_{method.gpu_memory_gb:g}G"
    settings = PlanningSettings(
        preset=method.preset, gpu_memory_gb=method.gpu_memory_gb, name=scaled
    )
    return plan_dataset(fingerprint, dataset, settings, provenance=True).plans
