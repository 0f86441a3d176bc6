"""nnU-Net 2.8.1's trainers: each as the settings in which it differs from `nnUNetTrainer`.

`TrainingSettings(trainer=NAME)` takes them from here. What some change about the network or the
batch, `trained_configuration` does to a configuration.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from resenc_plans.folders import TRAINER_NAME
from resenc_plans.words import counted

EXTERNAL = "nnUNet_extTrainer"
"""The environment variable in which nnU-Net looks for folders with trainers of one's own."""

MAX_SUGGESTIONS = 3


@dataclass(frozen=True)
class NnunetTrainer:
    """A trainer of nnU-Net, by what it changes."""

    name: str
    changes: str
    """What differs from nnUNetTrainer, in words."""
    settings: Mapping[str, Any]
    """Those of `TrainingSettings` that differ."""
    has_batch_norm: bool = False
    """Whether the network has batch norm in place of the plans' normalisation."""
    batch_size: int | None = None
    """That of the plans is replaced by it."""
    patch_size: tuple[int, ...] | None = None
    """That of the plans is replaced by it."""
    network: str | None = None
    """The Primus network that replaces the plans' network."""
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments in plans."""
    is_benchmark: bool = False
    """Whether it measures the time of an epoch and leaves no model."""
    unavailable: str | None = None
    """Why it cannot be had here; None where it can."""


def trainer_settings(name: str) -> dict[str, Any]:
    """The settings in which a trainer of nnU-Net differs from nnUNetTrainer.

    >>> trainer_settings("nnUNetTrainer_5epochs")
    {'epochs': 5}

    Raises
    ------
    ValueError
        nnU-Net has no such trainer, or it cannot be had here.
    """
    trainer = NNUNET_TRAINERS.get(name)
    if trainer is None:
        raise ValueError(_unknown(name))
    if trainer.unavailable is not None:
        raise ValueError(f"trainer {name} cannot be had: {trainer.unavailable}")
    return dict(trainer.settings)


def is_benchmark(trainer: str | None) -> bool:
    """Whether a trainer measures the time of an epoch and leaves no model."""
    return trainer is not None and NNUNET_TRAINERS[trainer].is_benchmark


def _unknown(name: str) -> str:
    text = f"trainer {name!r} is none of nnU-Net 2.8.1's"
    by_lower = {known.lower(): known for known in NNUNET_TRAINERS}
    close = get_close_matches(name.lower(), by_lower, n=MAX_SUGGESTIONS, cutoff=0.7)
    if close:
        text += f"; the nearest are {', '.join(by_lower[match] for match in close)}"
    if os.environ.get(EXTERNAL):
        text += (
            f". Trainers in the folders of {EXTERNAL} are not imported: they change methods of "
            "nnU-Net's own class, which is not used here. Train with nnU-Net, whose models are "
            "predicted here, or write what the trainer changes as settings"
        )
    return text


_Row = tuple[str, str, Mapping[str, Any]]
"""What follows nnUNetTrainer in the name; what differs; the settings that say so."""

_ADAM_RATES = (("", 0.01), ("1en3", 1e-3), ("3en4", 3e-4))
_NO_MIRRORING = "no mirroring, in prediction neither"
_TWO_AXES = "no mirroring along the last axis, in prediction neither"
_NEAREST = "segmentations take the label of the nearest voxel"
_STRONGER = "stronger augmentation"
_WORST = "the tenth of the voxels where it is highest"


def _adam(rate: float, **optimizer: Any) -> dict[str, Any]:
    """With nnU-Net's weight decay."""
    return {"optimizer": {"weight_decay": 3e-5, **optimizer}, "learning_rate": rate}


def _adan(rate: float, **others: Any) -> dict[str, Any]:
    optimizer = {"name": "Adan", "weight_decay": 3e-5}
    return {"optimizer": optimizer, "learning_rate": rate, **others}


def _loss(name: str, **options: Any) -> dict[str, Any]:
    return {"loss": {"name": name, **options}}


def _augmentation(**changed: Any) -> dict[str, Any]:
    return {"augmentation": changed}


def _rows() -> Iterator[_Row]:
    yield "", "nothing", {}
    yield "_1epoch", "1 epoch", {"epochs": 1}
    for epochs in (5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000):
        yield f"_{epochs}epochs", counted(epochs, "epoch"), {"epochs": epochs}
    for epochs in (250, 2000, 4000, 8000):
        settings = {"epochs": epochs, **_augmentation(mirroring="none")}
        yield (
            f"_{epochs}epochs_NoMirroring",
            f"{counted(epochs, 'epoch')}, {_NO_MIRRORING}",
            settings,
        )
    for suffix, rate in _ADAM_RATES:
        settings = _adam(rate, name="AdamW", amsgrad=True)
        yield f"Adam{suffix}", f"AdamW with AMSGrad, rate {rate:g}", settings
        yield f"VanillaAdam{suffix}", f"Adam, rate {rate:g}", _adam(rate, name="Adam")
    for suffix, rate in (*_ADAM_RATES, ("1en1", 0.1)):
        yield f"Adan{suffix}", f"Adan, rate {rate:g}", _adan(rate)
    cosine = {"schedule": {"name": "cosine"}}
    yield "AdanCosAnneal", "Adan, rate 0.01 that falls along a cosine", _adan(0.01, **cosine)
    yield "CosAnneal", "the rate falls along a cosine", cosine
    warmup = {"name": "polynomial", "warmup_epochs": 50}
    yield "_warmup", "the rate rises over 50 epochs, then falls as before", {"schedule": warmup}
    entropy = _loss("cross_entropy")
    yield "CELoss", "cross-entropy alone", entropy
    yield "CELoss_5epochs", "cross-entropy alone, 5 epochs", {"epochs": 5, **entropy}
    yield "DiceLoss", "Dice alone", _loss("dice")
    yield (
        "DiceCELoss_noSmooth",
        "nothing is added to the Dice's fraction",
        _loss("dice_cross_entropy", smooth=0),
    )
    yield (
        "Topk10Loss",
        f"cross-entropy alone, over {_WORST}",
        _loss("cross_entropy", worst_share=0.1),
    )
    yield (
        "Topk10LossLS01",
        f"cross-entropy with label smoothing 0.1, over {_WORST}",
        _loss("cross_entropy", worst_share=0.1, label_smoothing=0.1),
    )
    yield (
        "DiceTopK10Loss",
        f"the cross-entropy is over {_WORST}",
        _loss("dice_cross_entropy", worst_share=0.1),
    )
    yield "NoDeepSupervision", "one output, one loss", {"deep_supervision": False}
    yield from _augmented_rows()
    random = {"foreground_samples": "random"}
    yield (
        "_probabilisticOversampling",
        "each sample shows foreground by chance",
        {"foreground_samples": "random_as_last"},
    )
    yield "_probabilisticOversampling_033", "the same, with a chance of 0.33", random
    yield (
        "_probabilisticOversampling_010",
        "the same, with a chance of 0.1",
        {
            **random,
            "oversampled_foreground": 0.1,
        },
    )


def _augmented_rows() -> Iterator[_Row]:
    two_axes = {"mirroring": "all_but_last"}
    yield "NoDA", "no augmentation, no mirroring in prediction", _augmentation(transforms="none")
    yield "NoMirroring", _NO_MIRRORING, _augmentation(mirroring="none")
    yield "_onlyMirror01", _TWO_AXES, _augmentation(**two_axes)
    yield (
        "_onlyMirror01_1500ep",
        f"{_TWO_AXES}, 1500 epochs",
        {
            "epochs": 1500,
            **_augmentation(**two_axes),
        },
    )
    yield (
        "_onlyMirror01_DASegOrd0",
        f"{_TWO_AXES}; {_NEAREST}",
        _augmentation(**two_axes, nearest_labels=True),
    )
    yield "_DASegOrd0", _NEAREST, _augmentation(nearest_labels=True)
    yield (
        "_DASegOrd0_NoMirroring",
        f"{_NEAREST}; {_NO_MIRRORING}",
        _augmentation(nearest_labels=True, mirroring="none"),
    )
    yield from _strong_rows()
    yield (
        "_noDummy2DDA",
        "flat patches are rotated about all axes, too",
        _augmentation(plane_wise=False),
    )


def _strong_rows() -> Iterator[_Row]:
    strong = {"transforms": "strong"}
    yield "DA5", _STRONGER, _augmentation(**strong)
    yield "DA5_10epochs", f"{_STRONGER}, 10 epochs", {"epochs": 10, **_augmentation(**strong)}
    yield (
        "DA5Segord0",
        f"{_STRONGER}; {_NEAREST}",
        _augmentation(**strong, nearest_labels=True),
    )
    yield (
        "DA5ord0",
        f"{_STRONGER}; segmentations and images take the nearest voxel",
        _augmentation(**strong, nearest_labels=True, nearest_images=True),
    )
    yield (
        "_onlyMirror01_DA5",
        f"{_STRONGER}, {_TWO_AXES}",
        _augmentation(**strong, mirroring="all_but_last"),
    )


def _trainers() -> Iterator[NnunetTrainer]:
    for suffix, changes, settings in _rows():
        yield NnunetTrainer(f"{TRAINER_NAME}{suffix}", changes, settings)
    yield NnunetTrainer(f"{TRAINER_NAME}BN", "batch norm", {}, has_batch_norm=True)
    yield NnunetTrainer("nnUNet_Trainer_BS8", "batch size 8", {}, batch_size=8)
    name = f"{TRAINER_NAME}Benchmark_5epochs"
    changes = "5 epochs, no checkpoints, no validation; writes benchmark_result.json"
    settings = {"epochs": 5, "save_checkpoints": False}
    yield NnunetTrainer(name, changes, settings, is_benchmark=True)
    yield NnunetTrainer(
        f"{name}_noDataLoading",
        f"the same on one batch of noise: {changes}",
        {**settings, "noise": True},
        is_benchmark=True,
    )
    yield from _primus()


def _primus() -> Iterator[NnunetTrainer]:
    yield NnunetTrainer(
        "AbstractPrimus",
        "the base of those with Primus networks",
        {},
        unavailable="it is the base of others, which nnU-Net cannot train either. Use one of them",
    )
    for size in "SBML":
        yield _with_primus(f"nnUNet_Primus_{size}_Trainer", f"Primus-{size}")
    yield _with_primus("nnUNet_Primus_M_Trainer_BS8", "Primus-M", batch_size=8)
    yield _with_primus("nnUNet_Primus_M_Trainer_BS8_2e4", "Primus-M", rate=2e-4, batch_size=8)
    for size, edge in (("S", 96), ("B", 96), ("M", 96), ("L", 48)):
        name, patch = f"_Primus_{size}_{edge}_BS1", (edge,) * 3
        yield _with_primus(name, f"Primus-{size}", batch_size=1, patch_size=patch)
    for version in ("V2", "V3"):
        for size in "SBML":
            yield _with_primus(f"nnUNet_Primus{version}{size}_Trainer", f"Primus{version}{size}")


_PRIMUS_SIZES = {"S": (396, 12, 6), "B": (792, 12, 12), "M": (864, 16, 12), "L": (1056, 24, 16)}
"""Width, depth and heads of the first generation; the classes of the others have theirs."""


def _with_primus(
    name: str,
    network: str,
    *,
    rate: float = 3e-4,
    batch_size: int | None = None,
    patch_size: tuple[int, ...] | None = None,
) -> NnunetTrainer:
    class_name, _, size = network.partition("-")
    arguments = {
        "patch_embed_size": [8, 8, 8],
        "drop_path_rate": 0.2,
        "scale_attn_inner": True,
        "init_values": 0.1,
    }
    if size:
        keys = ("embed_dim", "eva_depth", "eva_numheads")
        arguments |= dict(zip(keys, _PRIMUS_SIZES[size], strict=True))
    changes = [
        f"network {network}",
        f"AdamW, rate {rate:g} after 50 epochs of warm-up",
        "one output",
        *([] if patch_size is None else [f"patch {'x'.join(map(str, patch_size))}"]),
        *([] if batch_size is None else [f"batch size {batch_size}"]),
    ]
    return NnunetTrainer(
        name,
        ", ".join(changes),
        {
            "learning_rate": rate,
            "schedule": {"name": "polynomial", "warmup_epochs": 50},
            "optimizer": {"name": "AdamW", "betas": (0.9, 0.98), "weight_decay": 0.05},
            "gradient_clip": 1,
            "deep_supervision": False,
        },
        batch_size=batch_size,
        patch_size=patch_size,
        network=class_name,
        network_arguments=arguments,
    )


NNUNET_TRAINERS: Mapping[str, NnunetTrainer] = MappingProxyType(
    {trainer.name: trainer for trainer in _trainers()}
)
"""By name."""
