"""What is asked of a planning run, and the preset, memory target and name that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from resenc_plans.datasets.bounds import MAX_SPACING, MIN_SPACING
from resenc_plans.errors import PlanningError, shown
from resenc_plans.files import fault_of_part
from resenc_plans.planning.presets import Preset, find_preset, presets, with_resampling
from resenc_plans.planning.resampling import Resampling, checked_resampling


@dataclass(frozen=True)
class PlanningSettings:
    """What may be chosen about plans; None leaves a choice to the preset or the dataset.

    Attributes
    ----------
    preset
        M, L, XL, resenc, default, another that `resenc-plans presets` lists, or a planner's class
        name. None is L, or M scaled to `gpu_memory_gb`.
    gpu_memory_gb
        Memory target in GB as nnU-Net counts it. A target other than the preset's needs a `name`.
    fit_gb
        Experimental: fit the networks to that much GPU memory (GB) by the upper bound of their
        estimated cost, instead of to nnU-Net's target (see `estimated_memory`).
    name
        Name of the plans.
    spacing
        Target spacing in mm (z, y, x of the images).
    transpose
        Whether the coarsest axis comes first.
    batch_cap
        Share of the dataset's voxels that one batch may cover.
    own_data
        Whether every configuration has preprocessed cases of its own, in <plans>_<configuration>.
        In nnU-Net, the presets M, L and XL share those of the default preset.
    resampling
        How images, segmentations and logits are resampled: spline, torch, torch-separate-z or
        none. None leaves it to the preset. Other data than the preset's are in folders of their
        own.
    """

    preset: str | None = None
    gpu_memory_gb: float | None = None
    fit_gb: float | None = None
    name: str | None = None
    spacing: Sequence[float] | None = None
    transpose: bool = True
    batch_cap: float | None = None
    own_data: bool = False
    resampling: Resampling | None = None

    def choose(self) -> "Choices":
        """The choices that follow from the settings.

        Raises
        ------
        PlanningError
            They are impossible or contradict each other.
        """
        key, name, target = self.preset, self.name, self.gpu_memory_gb
        if self.fit_gb is not None:
            if target is not None:
                raise PlanningError(
                    "Give a GPU memory target (`gpu_memory_gb=`) or a memory to fit (`fit_gb=`), "
                    "not both."
                )
            key, target = key or "L", self.fit_gb
        preset, gpu_memory_gb = _preset_and_target(key, target)
        if self.resampling is not None:
            preset = with_resampling(preset, checked_resampling(self.resampling))
        if self.fit_gb is not None:
            name = name or f"nnUNetResEncUNetPlans_fit{self.fit_gb:g}G"
        plans_name = _plans_name(preset, gpu_memory_gb, name)
        if self.fit_gb is not None and plans_name == preset.plans_name:
            raise PlanningError(
                f"The name {plans_name} stands for preset {preset.key} as nnU-Net plans it. "
                "Give plans that are fitted to an estimate another name."
            )
        cap = preset.batch_cap if self.batch_cap is None else self.batch_cap
        if not 0 < cap <= MAX_BATCH_CAP:
            raise PlanningError(
                f"The batch cap is {shown(cap)}: give a positive share, such as 0.05."
            )
        return Choices(preset, gpu_memory_gb, plans_name, cap, _checked_spacing(self.spacing))


MAX_GPU_MEMORY_GB = 100_000
MAX_BATCH_CAP = 1_000_000
"""Share of the dataset's voxels: a batch may be larger than a small dataset."""

STANDARD = PlanningSettings()
"""Nothing chosen: preset L, as nnU-Net plans it."""


@dataclass(frozen=True)
class Choices:
    """A preset, a memory target (GB), a name, a batch cap and a target spacing that agree."""

    preset: Preset
    gpu_memory_gb: float
    plans_name: str
    batch_cap: float
    spacing: tuple[float, ...] | None


def _preset_and_target(key: str | None, gpu_memory_gb: float | None) -> tuple[Preset, float]:
    if gpu_memory_gb is not None and not 0 < gpu_memory_gb <= MAX_GPU_MEMORY_GB:
        raise PlanningError(
            f"The GPU memory target is {shown(gpu_memory_gb)}: give a positive number of GB of at "
            f"most {MAX_GPU_MEMORY_GB:,}, such as 24."
        )
    if key is None:
        key = "L" if gpu_memory_gb is None else "M"
    preset = find_preset(key)
    target = preset.gpu_memory_gb if gpu_memory_gb is None else gpu_memory_gb
    return preset, int(target) if float(target).is_integer() else target


def _plans_name(preset: Preset, target: float, name: str | None) -> str:
    """The plans' name; a preset's name stands for its own memory target only."""
    plans_name = preset.plans_name if name is None else name
    for known in (*presets(), preset):
        if known.plans_name == plans_name and known.gpu_memory_gb != target:
            raise PlanningError(
                f"The name {plans_name} stands for {known.gpu_memory_gb:g} GB, but the memory "
                f"target is {target:g} GB. Give the plans a name of their own, such as "
                f"nnUNetResEncUNetPlans_{target:g}G."
            )
        if known.plans_name == plans_name and known.key != preset.key:
            raise PlanningError(
                f"The name {plans_name} stands for preset {known.key}, not {preset.key}. "
                "Give the plans another name."
            )
    fault = fault_of_part(plans_name)
    if fault is not None:
        raise PlanningError(f"{plans_name!r} cannot name plans: {fault}.")
    if "__" in plans_name or any(c in plans_name for c in ": "):
        raise PlanningError(
            f"{plans_name!r} cannot name plans: results folders are split at '__', and colons and "
            "blanks do not belong in a folder's name."
        )
    return plans_name


def _checked_spacing(spacing: Sequence[float] | None) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    if len(spacing) != 3 or not all(MIN_SPACING <= value <= MAX_SPACING for value in spacing):
        raise PlanningError(
            f"The target spacing is {shown(tuple(spacing))}: three positive numbers in mm are "
            f"needed (z, y, x), from {MIN_SPACING:g} to {MAX_SPACING:g}."
        )
    z, y, x = map(float, spacing)
    return z, y, x
