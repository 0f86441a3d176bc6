"""Small untrained models in nnU-Net's folder layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.networks.build import build_network
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.checkpoint import Checkpoint, save_checkpoint
from tests.networks.configurations import residual
from tests.preprocessing.datasets import PROPERTIES

CPU = PredictionSettings(device="cpu")
CPU_IN_FP32 = PredictionSettings(device="cpu", precision="fp32")

LABELS = {"background": 0, "a": 1, "b": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rest": 3}


def in_fp32(**changes: Any) -> PredictionSettings:
    """Settings for a CPU in single precision, and these."""
    return PredictionSettings(device="cpu", precision="fp32", **changes)


def write_model(
    folder: Path,
    dim: int = 3,
    kind: Callable[..., Any] = residual,
    channels: int = 1,
    labels: dict[str, Any] = LABELS,
    patch_size: tuple[int, ...] | None = None,
    folds: tuple[Any, ...] = (0,),
    mirror_axes: tuple[int, ...] | None = (0, 1),
    transpose: tuple[int, int, int] = (0, 1, 2),
    spacing: tuple[float, float, float] | None = None,
    previous_stage: str | None = None,
    **arguments: Any,
) -> Path:
    """A model of random weights that differ from fold to fold, trained with deep supervision."""
    names = {str(c): f"channel {c}" for c in range(channels)}
    dataset = {"channel_names": names, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    if labels is REGIONS:
        dataset["regions_class_order"] = [1, 2, 3]
    values = kind(dim, **arguments).to_dict() | {
        "spacing": list(spacing or [1.0] * dim),
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "previous_stage": previous_stage,
    }
    if patch_size is not None:
        values["patch_size"] = list(patch_size)
    for what in ("data", "seg", "probabilities"):
        values[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        settings = {"is_seg": what == "seg", "order": 1, "order_z": 0, "force_separate_z": None}
        values[f"resampling_fn_{what}_kwargs"] = settings
    document: dict[str, Any] = {
        "dataset_name": "Dataset999_Made",
        "plans_name": "madePlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "foreground_intensity_properties_per_channel": dict.fromkeys(names, PROPERTIES),
        "configurations": {"tested": values},
    }
    if previous_stage is not None:
        document["configurations"][previous_stage] = values | {"previous_stage": None}
    return write_model_of(folder, document, dataset, "tested", folds, mirror_axes)


def write_model_of(
    folder: Path,
    document: dict[str, Any],
    dataset: dict[str, Any],
    configuration: str,
    folds: tuple[Any, ...] = (0,),
    mirror_axes: tuple[int, ...] | None = (0, 1),
) -> Path:
    """A model of random weights for a configuration of a plans document."""
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(document))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    config = Plans.from_dict(document).resolve(configuration)
    channels = len(dataset["channel_names"]) + (2 if config.previous_stage else 0)
    for fold in folds:
        torch.manual_seed(len(str(folder.name)) + (fold if isinstance(fold, int) else 99))
        network = build_network(config, channels, 3, deep_supervision=True)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        (folder / f"fold_{fold}").mkdir()
        save_checkpoint(
            folder / f"fold_{fold}" / "checkpoint_final.pth",
            Checkpoint(
                network_weights=network.state_dict(),
                optimizer_state=None,
                grad_scaler_state=None,
                logging={},
                best_ema=None,
                current_epoch=0,
                init_args={"configuration": configuration, "fold": fold},
                trainer_name="nnUNetTrainer",
                inference_allowed_mirroring_axes=mirror_axes,
            ),
        )
    return folder
