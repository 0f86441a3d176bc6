"""Parts of a training that are the caller's own, and the name and the record that they ask for."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TypedDict

import torch
from torch import nn

from resenc_plans.errors import UsageError
from resenc_plans.folders import TRAINER_NAME
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.run_record import RunRecord
from resenc_plans.training.batches.source import Augmentation, Sampler
from resenc_plans.training.defaults import Schedule
from resenc_plans.training.losses import Loss
from resenc_plans.training.step import OptimizerFactory, training_precision


class OwnParts(TypedDict, total=False):
    """What a caller may put in place of the plans' network and nnU-Net's method, see `Trainer`."""

    network: nn.Module
    loss: Loss
    optimizer: OptimizerFactory
    sampler: Sampler
    augmentation: Augmentation
    schedule: Schedule


def run_record(
    name: str | None,
    config: ResolvedConfiguration,
    settings: TrainingSettings,
    device: torch.device,
    parts: Mapping[str, object] = MappingProxyType({}),
) -> RunRecord:
    """What a training on a device would record of itself; for the parameters see `Trainer`.

    Raises
    ------
    UsageError
        There are parts, and no name, or it is nnU-Net's.
    DeviceError
        The device cannot train in this precision.
    """
    name = _required_name(name, parts)
    precision = training_precision(settings, device) or torch.float32
    kind = str(precision).removeprefix("torch.")
    return RunRecord.of(name, config, settings, kind, parts)


def _required_name(name: str | None, own: Collection[str]) -> str:
    """The name of the model, which must be another than nnU-Net's where parts are the caller's."""
    if not own:
        return TRAINER_NAME if name is None else name
    if name in (None, TRAINER_NAME):
        raise UsageError(
            f"{', '.join(own)}: your own, so the model needs a name of its own, which its folder "
            'and its records bear: `name=` "MyMethod".'
        )
    return str(name)
