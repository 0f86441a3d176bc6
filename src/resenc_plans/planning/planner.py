"""`create_plans`: from a fingerprint to the plans file that nnU-Net 2.8.1 would write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

from resenc_plans import __version__
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.images.reader_choice import reader_writer_name
from resenc_plans.errors import PlanningError
from resenc_plans.planning.configuration import (
    configuration_document,
    normalization_schemes,
    use_mask_for_normalization,
)
from resenc_plans.planning.estimated_memory import EstimatedMemory
from resenc_plans.planning.fitting import Budget, FeatureMapCount, FittedNetwork, Yardstick, fit
from resenc_plans.planning.presets import Preset, find_preset, presets
from resenc_plans.planning.spacing import axis_order, resampled_median_shape, target_spacing
from resenc_plans.plans.configuration import PROVENANCE
from resenc_plans.plans.plans import Plans

LOWRES_THRESHOLD = 0.25
"""3d_lowres is planned where a patch covers less of the median image than this."""
LOWRES_STEP = 1.03
MIN_LOWRES_GAIN = 2
"""3d_lowres is dropped where it has not at least this many times fewer voxels."""


@dataclass(frozen=True)
class PlanningResult:
    """Plans, and why they are as they are: the fit of each planned configuration."""

    plans: Plans
    preset: Preset
    gpu_memory_gb: float
    batch_cap: float
    fits: Mapping[str, FittedNetwork]
    remarks: tuple[str, ...]


def create_plans(
    fingerprint: Fingerprint | Mapping[str, Any],
    dataset: Dataset | DatasetJson | Mapping[str, Any],
    preset: str | None = None,
    gpu_memory_gb: float | None = None,
    name: str | None = None,
    spacing: Sequence[float] | None = None,
    transpose: bool = True,
    batch_cap: float | None = None,
    *,
    dataset_name: str | None = None,
) -> Plans:
    """The plans that nnU-Net 2.8.1 would write for a dataset.

    Parameters
    ----------
    fingerprint, dataset
        The dataset's fingerprint and the dataset, or what their JSON files hold.
    preset
        M, L, XL, resenc, default or a registered one; L if neither it nor a memory target is
        given, M if only a memory target is.
    gpu_memory_gb
        Memory target in GB as nnU-Net counts it; the preset's own if None. Another than the
        preset's own needs a `name`.
    name
        Name of the plans; the preset's if None.
    spacing
        Target spacing in mm (z, y, x of the images), instead of the dataset's.
    transpose
        Whether the coarsest axis is put first.
    batch_cap
        Share of the dataset's voxels that one batch may cover; the preset's if None.
    dataset_name
        Name of the dataset where `dataset` is not a `Dataset`.

    Raises
    ------
    PlanningError
        What was asked for is impossible or contradicts itself.
    FingerprintError, DatasetError
        A mapping is not what it should be.
    """
    return plan_dataset(
        fingerprint,
        dataset,
        preset=preset,
        gpu_memory_gb=gpu_memory_gb,
        name=name,
        spacing=spacing,
        transpose=transpose,
        batch_cap=batch_cap,
        dataset_name=dataset_name,
    ).plans


def plan_dataset(
    fingerprint: Fingerprint | Mapping[str, Any],
    dataset: Dataset | DatasetJson | Mapping[str, Any],
    *,
    preset: str | None = None,
    gpu_memory_gb: float | None = None,
    name: str | None = None,
    spacing: Sequence[float] | None = None,
    transpose: bool = True,
    batch_cap: float | None = None,
    dataset_name: str | None = None,
    provenance: bool = False,
    fit_gb: float | None = None,
) -> PlanningResult:
    """As `create_plans`, with the reasons; `provenance` adds the key that says how it was made.

    `fit_gb` is experimental: the preset's networks are fitted to that much GPU memory by the upper
    bound of their estimated cost, instead of to nnU-Net's target (see `estimated_memory`).
    """
    if isinstance(fingerprint, Mapping):
        fingerprint = Fingerprint.from_dict(fingerprint)
    if isinstance(dataset, Mapping):
        dataset = DatasetJson.from_dict(dataset)
    described = dataset.json if isinstance(dataset, Dataset) else dataset
    if dataset_name is None:
        dataset_name = dataset.name if isinstance(dataset, Dataset) else "Dataset000_Unnamed"
    if fit_gb is not None:
        if gpu_memory_gb is not None:
            raise PlanningError("Give a GPU memory target or a memory to fit, not both.")
        preset, name = preset or "L", name or f"nnUNetResEncUNetPlans_fit{fit_gb:g}G"
    chosen, target = _choose(preset, gpu_memory_gb if fit_gb is None else fit_gb)
    plans_name = _name(chosen, target, name)
    if fit_gb is not None and plans_name == chosen.plans_name:
        raise PlanningError(
            f"The name {plans_name} stands for preset {chosen.key} as nnU-Net plans it. "
            "Give plans that are fitted otherwise another name."
        )
    cap = chosen.batch_cap if batch_cap is None else batch_cap
    if not isfinite(cap) or cap <= 0:
        raise PlanningError(f"The batch cap is {cap}: give a positive share, such as 0.05.")
    _check_channels(fingerprint, described)
    budget = Budget(chosen, target, cap, output_heads=len(described.labels))
    memory = None if fit_gb is None else EstimatedMemory.for_dataset(fit_gb, described)
    yardstick = memory or FeatureMapCount(budget)
    planned = _Planning(fingerprint, described, budget, plans_name, yardstick)
    document = planned.document(
        dataset_name=dataset_name,
        reader_writer=(
            dataset.reader_name if isinstance(dataset, Dataset) else reader_writer_name(described)
        ),
        spacing=_checked_spacing(spacing),
        transpose=transpose,
    )
    if provenance:
        document[PROVENANCE] = {
            "version": __version__,
            "preset": chosen.key,
            "gpu_memory_gb": target,
            "batch_cap": cap,
            "fingerprint_digest": fingerprint.digest(),
        }
        if memory is not None:
            document[PROVENANCE] |= memory.provenance()
    plans = Plans.from_dict(document, f"{plans_name}.json")
    return PlanningResult(plans, chosen, target, cap, planned.fits, tuple(planned.remarks))


class _Planning:
    """One planning run: what all configurations share."""

    def __init__(
        self,
        fingerprint: Fingerprint,
        dataset: DatasetJson,
        budget: Budget,
        plans_name: str,
        yardstick: Yardstick,
    ) -> None:
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
        return configuration_document(
            network,
            data_identifier=self.budget.preset.data_identifier(self.plans_name, name),
            spacing=spacing,
            median_shape=shape,
            schemes=self.schemes,
            masks=self.masks,
        ) | {"batch_dice": batch_dice}


def _choose(preset: str | None, gpu_memory_gb: float | None) -> tuple[Preset, float]:
    """The preset and its memory target in GB."""
    if gpu_memory_gb is not None and not (isfinite(gpu_memory_gb) and gpu_memory_gb > 0):
        raise PlanningError(
            f"The GPU memory target is {gpu_memory_gb}: give a positive number of GB, such as 24."
        )
    if preset is None:
        preset = "L" if gpu_memory_gb is None else "M"
    chosen = find_preset(preset)
    target = chosen.gpu_memory_gb if gpu_memory_gb is None else gpu_memory_gb
    return chosen, int(target) if float(target).is_integer() else target


def _name(preset: Preset, target: float, name: str | None) -> str:
    """The plans' name; a preset's name stands for its own memory target only."""
    plans_name = preset.plans_name if name is None else name
    for known in presets():
        if known.plans_name == plans_name and known.gpu_memory_gb != target:
            raise PlanningError(
                f"The name {plans_name} stands for {known.gpu_memory_gb:g} GB, but the memory "
                f"target is {target:g} GB. Give the plans a name of their own, such as "
                f"nnUNetResEncUNetPlans_{target:g}G."
            )
        if known.plans_name == plans_name and known.planner != preset.planner:
            raise PlanningError(
                f"The name {plans_name} stands for preset {known.key}, not {preset.key}. "
                "Give the plans another name."
            )
    if not plans_name or "__" in plans_name or any(c in plans_name for c in "/\\:\0 "):
        raise PlanningError(
            f"{plans_name!r} cannot name plans: results folders are split at '__', and slashes, "
            "colons and blanks do not belong in a folder's name."
        )
    return plans_name


def _checked_spacing(spacing: Sequence[float] | None) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(isfinite(value) and value > 0 for value in values):
        raise PlanningError(
            f"The target spacing is {values}: three positive numbers in mm are needed (z, y, x)."
        )
    return values


def _check_channels(fingerprint: Fingerprint, dataset: DatasetJson) -> None:
    there = len(fingerprint.foreground_intensity_properties_per_channel)
    if there != len(dataset.channel_names):
        raise PlanningError(
            f"The fingerprint has {there} channels, dataset.json {len(dataset.channel_names)}. "
            "Extract the fingerprint again: resenc-plans fingerprint --overwrite."
        )
