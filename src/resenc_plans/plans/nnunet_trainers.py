"""nnU-Net 2.8.1's trainers: each as the settings in which it differs from `nnUNetTrainer`.

`TrainingSettings(trainer=NAME)` takes them from here. What some change about the network or the
batch, `trained_configuration` does to a configuration.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from resenc_plans.folders import TRAINER_NAME

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
            f". The folders that {EXTERNAL} names are not searched, since the trainers there are "
            "code that needs nnU-Net: write the same as settings, or pass your own parts to "
            "`Trainer` under a `name=` of their own"
        )
    return text


_PRIMUS = (
    "this package has no Primus network. nnU-Net trains it, with timm and "
    "dynamic-network-architectures, from the same plans and stored cases"
)

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
        yield f"_{epochs}epochs", f"{epochs} epochs", {"epochs": epochs}
    for epochs in (250, 2000, 4000, 8000):
        settings = {"epochs": epochs, **_augmentation(mirroring="none")}
        yield f"_{epochs}epochs_NoMirroring", f"{epochs} epochs, {_NO_MIRRORING}", settings
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
    rest = "AdamW, rate 0.0003 with a warm-up, no deep supervision"
    yield NnunetTrainer(
        "AbstractPrimus",
        "the base of those with Primus networks",
        {},
        unavailable="it is the base of others, which nnU-Net cannot train either. Use one of them",
    )
    for generation in ("_Primus_", "_PrimusV2", "_PrimusV3"):
        for size in "SBML":
            network = f"{generation.strip('_')}-{size}"
            yield _without(f"nnUNet{generation}{size}_Trainer", f"network {network}, {rest}")
    medium = f"network Primus-M, batch size 8, {rest}"
    yield _without("nnUNet_Primus_M_Trainer_BS8", medium)
    yield _without("nnUNet_Primus_M_Trainer_BS8_2e4", medium.replace("0.0003", "0.0002"))
    for size, edge in (("S", 96), ("B", 96), ("M", 96), ("L", 48)):
        changes = f"network Primus-{size}, patch {edge}x{edge}x{edge}, batch size 1, {rest}"
        yield _without(f"_Primus_{size}_{edge}_BS1", changes)


def _without(name: str, changes: str) -> NnunetTrainer:
    return NnunetTrainer(name, changes, {}, unavailable=_PRIMUS)


NNUNET_TRAINERS: Mapping[str, NnunetTrainer] = MappingProxyType(
    {trainer.name: trainer for trainer in _trainers()}
)
"""By name."""
