"""Parts of a training that are the caller's own, and the name and the record that they ask for."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TypedDict

import torch
from torch import nn

from resenc_plans.errors import UsageError
from resenc_plans.folders import TRAINER_NAME
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.nnunet_trainers import NNUNET_TRAINERS
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
    name = model_name(name, settings, parts)
    precision = training_precision(settings, device) or torch.float32
    kind = str(precision).removeprefix("torch.")
    return RunRecord.of(name, config, settings, kind, parts)


def model_name(name: str | None, settings: TrainingSettings, own: Collection[str] = ()) -> str:
    """The name of the model: by default that of the trainer of nnU-Net that the settings name.

    Raises
    ------
    UsageError
        It is the name of a trainer of nnU-Net, but the settings are not that trainer's, or parts
        of the training are the caller's own.
    """
    if own and (name is None or name in NNUNET_TRAINERS):
        raise UsageError(
            f"{', '.join(own)}: your own, so the model needs a name of its own, which its folder "
            'and its records bear: `name=` "MyMethod".'
        )
    trainer = settings.trainer or TRAINER_NAME
    if name in NNUNET_TRAINERS and name not in (trainer, TRAINER_NAME):
        raise UsageError(
            f"The name {name} is that of a trainer of nnU-Net, but the settings are those of "
            f"{trainer}. Choose the trainer instead (`trainer` of the settings), or another name."
        )
    return trainer if name is None else str(name)
