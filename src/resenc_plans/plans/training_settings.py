"""`TrainingSettings`: how a network is trained.

A configuration of the plans may name some of them under its key `training`, which nnU-Net ignores.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from resenc_plans.datasets.bounds import MAX_SEED
from resenc_plans.datasets.checked_model import CheckedModel
from resenc_plans.datasets.model_faults import fault_texts
from resenc_plans.errors import FileError, UsageError
from resenc_plans.execution.cpus import MAX_WORKERS
from resenc_plans.files import read_json
from resenc_plans.plans.nnunet_trainers import trainer_settings
from resenc_plans.words import counted

Precision = Literal["auto", "fp16", "bf16", "fp32"]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Minutes = Annotated[float, Field(gt=0, le=100_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, le=1e6)]
Kept = Annotated[float, Field(ge=0, lt=1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Smooth = Annotated[float, Field(ge=0, le=1e6)]
WorstShare = Annotated[float, Field(gt=0, le=1)]
Smoothing = Annotated[float, Field(ge=0, lt=1)]


class _Settings(CheckedModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SGD(_Settings):
    """Stochastic gradient descent."""

    name: Literal["SGD"] = "SGD"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Share of the last step that the next one keeps."""
    nesterov: bool = True
    """Whether the momentum, if there is any, is Nesterov's."""
    weight_decay: Decay = 3e-5
    """Share of the weights that is added to their gradients."""


class Adam(_Settings):
    """Adam (Kingma and Ba 2015)."""

    name: Literal["Adam"] = "Adam"
    betas: tuple[Kept, Kept] = (0.9, 0.999)
    """Shares of the running means of gradients and of their squares that a step keeps."""
    eps: Epsilon = 1e-8
    """Added to the denominator; 1e-4 where gradients are in float16."""
    weight_decay: Decay = 0.0
    """Share of the weights that is added to their gradients."""
    amsgrad: bool = False
    """Whether the largest mean of squares so far divides, in place of the present one."""


class AdamW(_Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["AdamW"] = "AdamW"
    betas: tuple[Kept, Kept] = (0.9, 0.999)
    """Shares of the running means of gradients and of their squares that a step keeps."""
    eps: Epsilon = 1e-8
    """Added to the denominator; 1e-4 where gradients are in float16."""
    weight_decay: Decay = 0.01
    """Share of the weights that a step removes, times the learning rate."""
    amsgrad: bool = False
    """Whether the largest mean of squares so far divides, in place of the present one."""


class Adan(_Settings):
    """Adan (Xie et al. 2022), with Nesterov's momentum for both moments (extra adan)."""

    name: Literal["Adan"] = "Adan"
    betas: tuple[Kept, Kept, Kept] = (0.98, 0.92, 0.99)
    """Shares of the running means of gradients, of their differences and of the squares of both
    that a step keeps."""
    eps: Epsilon = 1e-8
    """Added to the denominator."""
    weight_decay: Decay = 0.0
    """Share of the weights that a step removes, times the learning rate."""


class PolynomialSchedule(_Settings):
    """The learning rate falls with (1 - epoch / epochs) to the power of `exponent`."""

    name: Literal["polynomial"] = "polynomial"
    exponent: Annotated[float, Field(gt=0, le=1000)] = 0.9
    """nnU-Net's is 0.9."""
    warmup_epochs: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Epochs over which the rate rises in equal steps to `learning_rate`, from which it falls over
    the others."""


class CosineSchedule(_Settings):
    """The learning rate rises linearly for some epochs, then falls along half a cosine."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Epochs until `learning_rate` is reached."""
    warmup_start: Share = 0.0
    """The first epoch's learning rate as a share of `learning_rate`, where there is a warm-up."""
    floor: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """The lowest learning rate of the fall."""


class DiceCrossEntropyLoss(_Settings):
    """Dice and cross-entropy, added; binary cross-entropy where there are regions."""

    name: Literal["dice_cross_entropy"] = "dice_cross_entropy"
    squared_denominator: bool = False
    """Whether the Dice divides by sums of squares of prediction and truth."""
    background: bool = False
    """Whether the background counts as a class of the Dice."""
    smooth: Smooth = 1e-5
    """Added to both sides of the Dice's fraction."""
    worst_share: WorstShare = 1.0
    """Share of the voxels, those with the highest cross-entropy, that its mean is over."""


class CrossEntropyLoss(_Settings):
    """Cross-entropy alone, of labels; regions have none."""

    name: Literal["cross_entropy"] = "cross_entropy"
    worst_share: WorstShare = 1.0
    """Share of the voxels, those with the highest cross-entropy, that its mean is over."""
    label_smoothing: Smoothing = 0.0
    """Share of the probability that the truth spreads over all labels."""


class DiceLoss(_Settings):
    """The Dice alone, of the foreground."""

    name: Literal["dice"] = "dice"
    smooth: Smooth = 1e-5
    """Added to both sides of the Dice's fraction."""


class DiceFocalLoss(_Settings):
    """Dice and the focal loss (Lin et al. 2017), one class against the rest, added."""

    name: Literal["dice_focal"] = "dice_focal"
    gamma: Annotated[float, Field(ge=0, le=1000)] = 2.0
    """The higher, the less voxels count that are already right."""
    squared_denominator: bool = False
    """Whether the Dice divides by sums of squares of prediction and truth."""
    background: bool = False
    """Whether the background counts as a class of both."""


class AugmentationSettings(_Settings):
    """How training samples are changed before the network sees them."""

    transforms: Literal["standard", "strong", "none"] = "standard"
    """standard: nnU-Net's; strong: its DA5 set; none: patches as they are, not mirrored either."""
    mirroring: Literal["all", "all_but_last", "none"] = "all"
    """The axes that are mirrored, in prediction too."""
    plane_wise: bool = True
    """Whether a patch whose first axis is much shorter is rotated in its planes only."""
    nearest_labels: bool = False
    """Whether a rotated or scaled segmentation takes the label of the nearest voxel."""
    nearest_images: bool = False
    """Whether a rotated or scaled image takes the value of the nearest voxel."""


Optimizer = Annotated[SGD | Adam | AdamW | Adan, Field(discriminator="name")]
LearningRateSchedule = Annotated[PolynomialSchedule | CosineSchedule, Field(discriminator="name")]
STANDARD_AUGMENTATION = AugmentationSettings()
LossOfScale = Annotated[
    DiceCrossEntropyLoss | DiceFocalLoss | CrossEntropyLoss | DiceLoss,
    Field(discriminator="name"),
]

_EARLIER = {
    "momentum": ("optimizer", "SGD", "momentum"),
    "weight_decay": ("optimizer", "SGD", "weight_decay"),
    "poly_exponent": ("schedule", "polynomial", "exponent"),
}
"""Keys of earlier files, and where their values are now."""


NAMES_OF_NNUNET = {
    "epochs": "num_epochs",
    "iterations": "num_iterations_per_epoch",
    "learning_rate": "initial_lr",
    "optimizer.weight_decay": "weight_decay",
    "deep_supervision": "enable_deep_supervision",
}
"""Settings that nnU-Net's trainer has under another name, which debug.json has too."""


class TrainingSettings(_Settings):
    """How a training runs. Defaults are nnU-Net 2.8.1's.

    >>> TrainingSettings(epochs=100).learning_rate
    0.01
    """

    trainer: str | None = None
    """A trainer of nnU-Net, whose settings hold where they are left out; results bear its name."""
    epochs: Count = 1000
    """Epochs of `iterations` batches."""
    iterations: Count = 250
    """Training batches per epoch."""
    validation_iterations: Count = 50
    """Batches from held-out cases after each epoch, for the pseudo Dice."""
    learning_rate: Annotated[float, Field(gt=0, le=1e6)] = 0.01
    """Highest learning rate; without a warm-up that of the first epoch."""
    schedule: LearningRateSchedule = PolynomialSchedule()
    """How the learning rate changes from epoch to epoch."""
    optimizer: Optimizer = SGD()
    """What changes the weights."""
    loss: LossOfScale = DiceCrossEntropyLoss()
    """The loss of each scale."""
    oversampled_foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Share of the samples of a batch that are certain to show foreground."""
    foreground_samples: Literal["last", "random", "random_as_last"] = "last"
    """last: the last of a batch; random: each by chance; random_as_last: by the rounded share."""
    noise: bool = False
    """Whether all batches are one of noise, which measures a training without its data."""
    augmentation: AugmentationSettings = STANDARD_AUGMENTATION
    """How training samples are changed."""
    deep_supervision: bool = True
    """Whether the network's outputs at lower resolutions take part in the loss."""
    scale_weights: tuple[Decay, ...] | None = None
    """Weights of the losses of the outputs, highest resolution first. null: the network's."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 12
    """Largest norm of the gradients of all weights together. null: they are not clipped."""
    activation_checkpointing: bool = False
    """Whether blocks are calculated a second time in the backward pass: less memory, more time."""
    precision: Precision = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that support it, else fp32."""
    allow_tf32: bool = False
    """Whether convolutions in fp32 may use TF32 on CUDA: faster, less exact, nnU-Net's default."""
    channels_last: bool = False
    """Whether images and weights lie channels last on a GPU; not measured yet."""
    fused_optimizer: bool = False
    """Whether the optimizer is torch's fused one; not measured on a GPU yet."""
    compile: bool | None = None
    """Whether torch.compile compiles the network. null: on CUDA, except under Windows."""
    workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)] | None = None
    """Processes that make batches. null: as many as CPUs allow; 0: the main process."""
    augment_on: Literal["auto", "cpu", "device"] = "auto"
    """Where samples are augmented. auto: on a GPU where it has few CPUs, else on the CPU."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """Seed of the initial weights, patches and augmentation."""
    checkpoint_epochs: Count = 50
    """Epochs between checkpoints."""
    checkpoint_minutes: Minutes = 30
    """Minutes after which a checkpoint is written even within `checkpoint_epochs`."""
    save_checkpoints: bool = True
    """Whether checkpoints are written; a run without can be neither resumed nor used."""
    max_minutes: Minutes | None = None
    """Minutes after which a run ends with a checkpoint, to be resumed later."""
    tensorboard: bool = False
    """Whether curves are also written for TensorBoard (extra tensorboard)."""
    wandb: bool | None = None
    """Whether they go to Weights & Biases too (extra wandb). null: as nnUNet_wandb_enabled says."""
    mlflow: bool | None = None
    """Whether they go to MLflow too (extra mlflow). null: as nnUNet_mlflow_enabled says."""

    @model_validator(mode="before")
    @classmethod
    def _in_the_present_form(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = cls._without_earlier_keys(values)
        trainer = values.get("trainer")
        return values if not isinstance(trainer, str) else {**trainer_settings(trainer), **values}

    @staticmethod
    def _without_earlier_keys(values: Mapping[str, Any]) -> Mapping[str, Any]:
        present = {key: value for key, value in values.items() if key not in _EARLIER}
        for key in _EARLIER.keys() & values.keys():
            part, name, new_key = _EARLIER[key]
            if part in values:
                raise ValueError(f"{key} is now {part}.{new_key}")
            present.setdefault(part, {"name": name})[new_key] = values[key]
        return present

    @model_validator(mode="after")
    def _agree(self) -> Self:
        schedule = self.schedule
        if isinstance(schedule, CosineSchedule):
            if schedule.warmup_epochs >= self.epochs:
                raise ValueError(
                    f"schedule.warmup_epochs is {schedule.warmup_epochs}, but the training has "
                    f"only {counted(self.epochs, 'epoch')}"
                )
            if schedule.floor > self.learning_rate:
                raise ValueError("schedule.floor is above learning_rate")
        if self.scale_weights is not None:
            if not self.deep_supervision:
                raise ValueError("scale_weights are given, but deep_supervision is false")
            if not any(self.scale_weights):
                raise ValueError("scale_weights are all 0")
        return self

    def over(self, others: "TrainingSettings | None") -> Self:
        """These settings, and where they leave a value out, that of others, such as the plans'.

        >>> TrainingSettings(epochs=5).over(TrainingSettings(epochs=9, iterations=2)).iterations
        2

        Raises
        ------
        UsageError
            The settings contradict each other.
        """
        if others is None:
            return self
        replaced = others._of_trainer() if self.trainer else set()
        values = {
            key: getattr(settings, key)
            for settings in (others, self)
            for key in settings.model_fields_set
            if settings is self or key not in replaced
        }
        try:
            return type(self).model_validate(values)
        except ValidationError as error:
            raise UsageError(
                f"Settings of the training, together with those of the plans or of a file: "
                f"{in_words(error)}. Change one of them."
            ) from None

    def _of_trainer(self) -> set[str]:
        """The names of the values that are as the trainer has them."""
        if self.trainer is None:
            return set()
        pure = TrainingSettings(trainer=self.trainer)
        names = trainer_settings(self.trainer)
        return {name for name in names if getattr(self, name) == getattr(pure, name)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Settings from a JSON file; what it does not name keeps its default.

        Raises
        ------
        FileError
            The file cannot be read, or a setting is unknown or impossible; all are listed.
        """
        path = Path(path)
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise FileError(f"{path}: not training settings: {in_words(error)}.") from None


def resembles_settings(document: Mapping[str, Any]) -> bool:
    """Whether at least half of the keys of a JSON object are settings of a training."""
    known = document.keys() & {*TrainingSettings.model_fields, *_EARLIER}
    return bool(known) and 2 * len(known) >= len(document)


def in_words(error: ValidationError) -> str:
    """All faults of settings, as clauses."""
    return "; ".join(f"{key} {what}" if key else what for key, what in setting_faults(error))


def setting_faults(error: ValidationError) -> tuple[tuple[str, str], ...]:
    """Each fault of settings: the setting, empty for several, and what is wrong with it."""
    return tuple(fault_texts(error, TrainingSettings).items())
