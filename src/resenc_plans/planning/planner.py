"""`create_plans`: from a fingerprint to the plans file that nnU-Net 2.8.1 would write."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from resenc_plans import __version__
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.images.reader_choice import reader_writer_name
from resenc_plans.errors import PlanningError, expect_type
from resenc_plans.planning.configuration import (
    configuration_document,
    normalization_schemes,
    use_mask_for_normalization,
)
from resenc_plans.planning.estimated_memory import EstimatedMemory
from resenc_plans.planning.fitting import Budget, FeatureMapCount, FittedNetwork, Yardstick, fit
from resenc_plans.planning.presets import Preset, presets
from resenc_plans.planning.resampling import Resampling
from resenc_plans.planning.settings import STANDARD, Choices, PlanningSettings
from resenc_plans.planning.spacing import axis_order, resampled_median_shape, target_spacing
from resenc_plans.plans.configuration import PROVENANCE
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.topology import LOWRES_THRESHOLD, MIN_LOWRES_GAIN
from resenc_plans.words import counted

logger = logging.getLogger(__name__)

LOWRES_STEP = 1.03


@dataclass(frozen=True)
class PlanningResult:
    """Plans, and why they are as they are.

    Attributes
    ----------
    plans, preset, gpu_memory_gb, batch_cap
        The plans, and the choices that they follow from.
    fits
        The network of each planned configuration, and what limited its patch and its batch.
    warnings
        What is not standard about the plans.
    remarks
        Why configurations were not planned.
    """

    plans: Plans
    preset: Preset
    gpu_memory_gb: float
    batch_cap: float
    fits: Mapping[str, FittedNetwork]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]


def create_plans(
    fingerprint: Fingerprint | Mapping[str, Any],
    dataset: Dataset | DatasetJson | Mapping[str, Any],
    preset: str | None = None,
    *,
    gpu_memory_gb: float | None = None,
    name: str | None = None,
    spacing: Sequence[float] | None = None,
    transpose: bool = True,
    batch_cap: float | None = None,
    own_data: bool = False,
    resampling: Resampling | None = None,
    dataset_name: str | None = None,
) -> Plans:
    """The plans that nnU-Net 2.8.1 would write for a dataset.

    What limited each patch and batch is in the result of `plan_dataset`; warnings and remarks go to
    the log.

    Parameters
    ----------
    fingerprint, dataset
        The dataset's fingerprint and the dataset, or what their JSON files hold.
    preset
        M, L, XL, resenc, default, another that `resenc-plans presets` lists, or a planner's class
        name; L if neither it nor a memory target is given, M if only a memory target is.
    gpu_memory_gb
        Memory target in GB as nnU-Net counts it; the preset's own if None. Another than the
        preset's own needs a `name`.
    name
        Name of the plans; the preset's if None.
    spacing
        Target spacing in mm (z, y, x of the images), instead of the dataset's.
    transpose
        Whether the coarsest axis comes first.
    batch_cap
        Share of the dataset's voxels that one batch may cover; the preset's if None.
    own_data
        Whether preprocessed cases go to folders that no other plans use.
    resampling
        spline, torch, torch-separate-z or none; the preset's if None. What differs from the
        preset's has preprocessed cases of its own.
    dataset_name
        Name of the dataset where `dataset` is not a `Dataset`.

    Raises
    ------
    PlanningError
        What was asked for is impossible or contradicts itself.
    FingerprintError, DatasetError
        A mapping is not what it should be.
    """
    settings = PlanningSettings(
        preset=preset,
        gpu_memory_gb=gpu_memory_gb,
        name=name,
        spacing=spacing,
        transpose=transpose,
        batch_cap=batch_cap,
        own_data=own_data,
        resampling=resampling,
    )
    result = plan_dataset(fingerprint, dataset, settings, dataset_name=dataset_name)
    for sentence in (*result.warnings, *result.remarks):
        logger.info("%s", sentence)
    return result.plans


def planning_input(
    fingerprint: Fingerprint | Mapping[str, Any], dataset: Dataset | DatasetJson | Mapping[str, Any]
) -> tuple[Fingerprint, Dataset | DatasetJson]:
    """What plans are made from; mappings are what the JSON files hold.

    Raises
    ------
    FingerprintError, DatasetError
        A mapping is not what it should be.
    UsageError
        One is of another kind.
    """
    if isinstance(fingerprint, Mapping):
        fingerprint = Fingerprint.from_dict(fingerprint)
    if isinstance(dataset, Mapping):
        dataset = DatasetJson.from_dict(dataset)
    expect_type(fingerprint, Fingerprint, "fingerprint", "one, such as Fingerprint.load(path)")
    expect_type(dataset, (Dataset, DatasetJson), "dataset", "one, such as Dataset.load(path)")
    return fingerprint, dataset


def plan_dataset(
    fingerprint: Fingerprint | Mapping[str, Any],
    dataset: Dataset | DatasetJson | Mapping[str, Any],
    settings: PlanningSettings = STANDARD,
    *,
    dataset_name: str | None = None,
    provenance: bool = False,
) -> PlanningResult:
    """As `create_plans`, with the reasons; `provenance` adds the key that says how it was made.

    Raises
    ------
    PlanningError
        What was asked for is impossible or contradicts itself.
    FingerprintError, DatasetError
        A mapping is not what it should be.
    """
    fingerprint, dataset = planning_input(fingerprint, dataset)
    described = dataset.json if isinstance(dataset, Dataset) else dataset
    if dataset_name is None:
        dataset_name = dataset.name if isinstance(dataset, Dataset) else "Dataset000_Unnamed"
    choices = settings.choose()
    _check_channels(fingerprint, described)
    budget = Budget(
        choices.preset,
        choices.gpu_memory_gb,
        choices.batch_cap,
        output_heads=len(described.labels),
    )
    memory = (
        None if settings.fit_gb is None else EstimatedMemory.for_dataset(settings.fit_gb, described)
    )
    planned = _Planning(
        fingerprint,
        described,
        budget,
        choices.plans_name,
        memory or FeatureMapCount(budget),
        own_data=settings.own_data,
    )
    document = planned.document(
        dataset_name=dataset_name,
        reader_writer=(
            dataset.reader_name if isinstance(dataset, Dataset) else reader_writer_name(described)
        ),
        spacing=choices.spacing,
        transpose=settings.transpose,
    )
    if provenance:
        document[PROVENANCE] = {
            "version": __version__,
            "dataset": dataset_name,
            "preset": choices.preset.key,
            "gpu_memory_gb": choices.gpu_memory_gb,
            "batch_cap": choices.batch_cap,
            "fingerprint_digest": fingerprint.digest(),
        }
        if memory is not None:
            document[PROVENANCE] |= memory.provenance()
    return PlanningResult(
        plans=Plans.from_dict(document, f"{choices.plans_name}.json"),
        preset=choices.preset,
        gpu_memory_gb=choices.gpu_memory_gb,
        batch_cap=choices.batch_cap,
        fits=planned.fits,
        warnings=_warnings(settings, choices),
        remarks=tuple(planned.remarks),
    )


def refuse_errors(plans: Plans, dataset: Dataset | DatasetJson) -> None:
    """Refuse plans that `train` would refuse, such as those of images too small for a network.

    Raises
    ------
    PlanningError
        A check of the plans finds an error; the message lists all of them.
    """
    errors = [f for f in plans.validate_rules(dataset) if f.severity == "error"]
    if errors:
        faults = "".join(
            f"\n  {' '.join(filter(None, (f.configuration, f.key)))}: {f.message} [{f.rule}]"
            for f in errors
        )
        raise PlanningError(f"These plans could not be trained, so none were written.{faults}")


class _Planning:
    """One planning run: what all configurations share."""

    def __init__(
        self,
        fingerprint: Fingerprint,
        dataset: DatasetJson,
        budget: Budget,
        plans_name: str,
        yardstick: Yardstick,
        *,
        own_data: bool,
    ) -> None:
        self.own_data = own_data
        self.yardstick = yardstick
        self.fingerprint = fingerprint
        self.budget = budget
        self.plans_name = plans_name
        self.schemes = normalization_schemes(dataset)
        self.masks = use_mask_for_normalization(self.schemes, fingerprint)
        cases = dataset.num_training
        self.cases = len(fingerprint.spacings) if cases is None else cases
        self.fits: dict[str, FittedNetwork] = {}
        self.remarks: list[str] = []

    def document(
        self,
        *,
        dataset_name: str,
        reader_writer: str,
        spacing: tuple[float, ...] | None,
        transpose: bool,
    ) -> dict[str, Any]:
        """The plans as nnU-Net writes them."""
        import numpy as np

        fullres = target_spacing(self.fingerprint) if spacing is None else np.array(spacing)
        forward, backward = axis_order(fullres.tolist()) if transpose else ((0, 1, 2), (0, 1, 2))
        shape = resampled_median_shape(self.fingerprint, fullres)[list(forward)]
        fullres = fullres[list(forward)]
        configurations = self._configurations(fullres.tolist(), shape.tolist())
        median_spacing = np.median(np.array(self.fingerprint.spacings), 0)[list(forward)]
        median_shape = np.median(np.array(self.fingerprint.shapes_after_crop), 0)[list(forward)]
        return {
            "dataset_name": dataset_name,
            "plans_name": self.plans_name,
            "original_median_spacing_after_transp": median_spacing.tolist(),
            "original_median_shape_after_transp": [round(size) for size in median_shape.tolist()],
            "image_reader_writer": reader_writer,
            "transpose_forward": list(forward),
            "transpose_backward": list(backward),
            "configurations": configurations,
            "experiment_planner_used": self.budget.preset.planner,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": self.fingerprint.to_dict()[
                "foreground_intensity_properties_per_channel"
            ],
        }

    def _configurations(self, spacing: list[float], shape: list[float]) -> dict[str, Any]:
        """2d, and for images with depth 3d_fullres, perhaps 3d_lowres and the cascade."""
        voxels = float(prod(shape)) * self.cases
        if shape[0] == 1:
            self.remarks.append("The images have one slice: only 2d is planned.")
            return {"2d": self._plan("2d", spacing[1:], shape[1:], voxels, batch_dice=True)}
        fullres = self._fit(spacing, shape, voxels)
        lowres = self._plan_lowres(fullres, spacing, shape)
        configurations = {"2d": self._plan("2d", spacing[1:], shape[1:], voxels, batch_dice=True)}
        if lowres is not None:
            configurations["3d_lowres"] = lowres | {"next_stage": "3d_cascade_fullres"}
        self.fits["3d_fullres"] = fullres
        configurations["3d_fullres"] = self._write(
            "3d_fullres", fullres, spacing, shape, batch_dice=lowres is not None
        )
        if lowres is not None:
            configurations["3d_cascade_fullres"] = {
                "inherits_from": "3d_fullres",
                "previous_stage": "3d_lowres",
            }
        return configurations

    def _plan_lowres(
        self, fullres: FittedNetwork, spacing: list[float], shape: list[float]
    ) -> dict[str, Any] | None:
        """3d_lowres, where a full-resolution patch sees too little of the image.

        The spacing grows step by step, first on axes more than twice as fine as the coarsest,
        until the patch covers enough of the image.
        """
        import numpy as np

        fine, sizes = np.array(spacing), np.array(shape)
        full_voxels = float(prod(shape))
        current, voxels = fine.copy(), full_voxels
        patch_voxels = float(prod(fullres.patch_size))
        lowres: FittedNetwork | None = None
        lowres_shape: list[int] = []
        while patch_voxels / voxels < LOWRES_THRESHOLD:
            lagging = current.max() / current > 2
            current[lagging if lagging.any() else slice(None)] *= LOWRES_STEP
            exact = fine / current * sizes
            voxels = float(np.prod(exact, dtype=np.float64))
            lowres_shape = [round(size) for size in exact.tolist()]
            lowres = self._fit(current.tolist(), lowres_shape, voxels * self.cases)
            patch_voxels = float(prod(lowres.patch_size))
        if lowres is None:
            self.remarks.append(
                "No 3d_lowres: a 3d_fullres patch covers at least "
                f"{LOWRES_THRESHOLD:.0%} of the median image."
            )
            return None
        if full_voxels / voxels < MIN_LOWRES_GAIN:
            self.remarks.append(
                "No 3d_lowres: it would have less than "
                f"{MIN_LOWRES_GAIN} times fewer voxels than 3d_fullres."
            )
            return None
        self.fits["3d_lowres"] = lowres
        return self._write("3d_lowres", lowres, current.tolist(), lowres_shape, batch_dice=False)

    def _plan(
        self,
        name: str,
        spacing: list[float],
        shape: list[float],
        dataset_voxels: float,
        *,
        batch_dice: bool,
    ) -> dict[str, Any]:
        self.fits[name] = self._fit(spacing, shape, dataset_voxels)
        return self._write(name, self.fits[name], spacing, shape, batch_dice=batch_dice)

    def _fit(
        self, spacing: list[float], shape: Sequence[float], dataset_voxels: float
    ) -> FittedNetwork:
        return fit(spacing, shape, dataset_voxels, self.budget, self.yardstick)

    def _write(
        self,
        name: str,
        network: FittedNetwork,
        spacing: list[float],
        shape: Sequence[float],
        *,
        batch_dice: bool,
    ) -> dict[str, Any]:
        identifier = f"{self.plans_name}_{name}"
        if not self.own_data:
            identifier = self.budget.preset.data_identifier(self.plans_name, name)
        return configuration_document(
            network,
            data_identifier=identifier,
            resampling=self.budget.preset.resampling,
            spacing=spacing,
            median_shape=shape,
            schemes=self.schemes,
            masks=self.masks,
        ) | {"batch_dice": batch_dice}


def _warnings(settings: PlanningSettings, choices: Choices) -> tuple[str, ...]:
    """What is not standard about the plans."""
    preset, target = choices.preset, choices.gpu_memory_gb
    warnings = []
    if settings.fit_gb is not None:
        warnings.append(
            f"Experimental: fitted to {target:g} GB by the upper bound of the estimated "
            f"memory, not as nnU-Net plans preset {preset.key}. No results are published."
        )
    elif target != preset.gpu_memory_gb:
        warnings.append(
            f"Non-standard GPU memory target: {target:g} GB instead of preset "
            f"{preset.key}'s {preset.gpu_memory_gb:g} GB. nnU-Net's target is a "
            "proxy, not what nvidia-smi will show."
        )
    if preset.key not in {known.key for known in presets()}:
        warnings.append(
            f"nnU-Net has no planner {preset.key}; it preprocesses, trains and predicts with these "
            "plans all the same. No results are published."
        )
    if choices.spacing is not None and preset.shares_default_data and not settings.own_data:
        warnings.append(
            "These plans share the folders nnUNetPlans_2d and nnUNetPlans_3d_fullres with other "
            "plans of the dataset, as in nnU-Net: preprocess again before you train, and "
            "other plans again before you go back to them. `own_data=` gives them folders of their "
            "own."
        )
    return tuple(warnings)


def _check_channels(fingerprint: Fingerprint, dataset: DatasetJson) -> None:
    channels = len(fingerprint.foreground_intensity_properties_per_channel)
    if channels != len(dataset.channel_names):
        raise PlanningError(
            f"The fingerprint has {counted(channels, 'channel')}, dataset.json "
            f"{len(dataset.channel_names)}. Extract the fingerprint again."
        )
