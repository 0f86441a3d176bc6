"""The presets: what nnU-Net's planners differ in, as one table of typed values.

Numbers are those of nnU-Net 2.8.1's planner classes. A reference is a feature-map count
(`cost.feature_maps`) that was measured to fit `reference_gb` at the reference batch size; it scales
with the memory target.
"""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from resenc_plans.errors import PlanningError, expect_type
from resenc_plans.planning.resampling import Resampling
from resenc_plans.plans.nnunet_planners import NNUNET_PLANNERS
from resenc_plans.reprs import call


@dataclass(frozen=True)
class Preset:
    """A planner: its names, its memory target and how it sizes networks.

    `blocks` are residual blocks (or convolutions, in the plain network) per encoder stage,
    `decoder_convs` the convolutions of each decoder stage; `batch_cap` is the share of the
    dataset's voxels that one batch may cover; a 2D patch shrinks until `batch_size_2d` of it fit.
    """

    key: str
    planner: str
    plans_name: str
    gpu_memory_gb: float
    reference_gb: float
    reference_count_2d: int
    reference_count_3d: int
    batch_cap: float
    batch_size_2d: int
    network: Literal["residual", "plain"]
    blocks: tuple[int, ...]
    decoder_convs: int
    shares_default_data: bool
    """Whether 2d and 3d_fullres use the default planner's preprocessed data."""
    resampling: Resampling = "spline"

    def __repr__(self) -> str:
        return call("Preset", vars(self))

    def blocks_of(self, stages: int) -> tuple[int, ...]:
        """Blocks of each of `stages` encoder stages; the last number repeats."""
        return tuple(self.blocks[min(stage, len(self.blocks) - 1)] for stage in range(stages))

    def data_identifier(self, plans_name: str, configuration: str) -> str:
        """The folder of a configuration's preprocessed data."""
        if self.shares_default_data and configuration in ("2d", "3d_fullres"):
            return f"nnUNetPlans_{configuration}"
        return f"{plans_name}_{configuration}"


def _residual(
    key: str,
    *,
    reference_count_2d: int,
    reference_count_3d: int,
) -> Preset:
    planner = NNUNET_PLANNERS[key]
    return Preset(
        key=key,
        planner=planner.class_name,
        plans_name=planner.plans_name,
        gpu_memory_gb=planner.gpu_memory_gb,
        reference_gb=planner.gpu_memory_gb,
        reference_count_2d=reference_count_2d,
        reference_count_3d=reference_count_3d,
        batch_cap=planner.batch_cap,
        batch_size_2d=12,
        network="residual",
        blocks=(1, 3, 4, 6),
        decoder_convs=1,
        shares_default_data=True,
    )


_DEFAULT = NNUNET_PLANNERS["default"]
_PRESETS: dict[str, Preset] = {
    preset.key: preset
    for preset in (
        Preset(
            key="default",
            planner=_DEFAULT.class_name,
            plans_name=_DEFAULT.plans_name,
            gpu_memory_gb=_DEFAULT.gpu_memory_gb,
            reference_gb=_DEFAULT.gpu_memory_gb,
            reference_count_2d=85_000_000,
            reference_count_3d=560_000_000,
            batch_cap=_DEFAULT.batch_cap,
            batch_size_2d=2,
            network="plain",
            blocks=(2,),
            decoder_convs=2,
            shares_default_data=False,
        ),
        _residual(
            "resenc",
            reference_count_2d=135_000_000,
            reference_count_3d=680_000_000,
        ),
        _residual(
            "M",
            reference_count_2d=135_000_000,
            reference_count_3d=680_000_000,
        ),
        _residual(
            "L",
            reference_count_2d=380_000_000,
            reference_count_3d=2_100_000_000,
        ),
        _residual(
            "XL",
            reference_count_2d=560_000_000,
            reference_count_3d=3_600_000_000,
        ),
    )
}


_ENDINGS: dict[Resampling, tuple[str, str]] = {
    "torch": ("torch", "torchres"),
    "torch-separate-z": ("torch-separate-z", "torchres_sepz"),
    "none": ("no-resampling", "noResampling"),
}
"""What a preset's key and its plans' name end in, where it does not resample by splines."""


def with_resampling(preset: Preset, resampling: Resampling) -> Preset:
    """A preset that resamples in another way; nnU-Net's own where it has a planner for it.

    Its data are in folders of its own.

    Raises
    ------
    PlanningError
        The preset stands for another resampling than by splines already.
    """
    if resampling == preset.resampling:
        return preset
    if preset.resampling != "spline":
        raise PlanningError(
            f"Preset {preset.key} stands for the resampling {preset.resampling}, but "
            f"`resampling=` is {resampling}. Give only one of the two."
        )
    ending, plans_ending = _ENDINGS[resampling]
    key = f"{preset.key}-{ending}"
    planner = NNUNET_PLANNERS.get(key)
    return replace(
        preset,
        key=key,
        planner=preset.planner if planner is None else planner.class_name,
        plans_name=f"{preset.plans_name}_{plans_ending}",
        shares_default_data=False,
        resampling=resampling,
    )


_PRESETS |= {
    preset.key: preset
    for preset in (
        with_resampling(_PRESETS["L"], "torch"),
        with_resampling(_PRESETS["L"], "torch-separate-z"),
        with_resampling(_PRESETS["L"], "none"),
        with_resampling(_PRESETS["default"], "torch"),
    )
}


def presets() -> tuple[Preset, ...]:
    """All presets, nnU-Net's first, then those that were registered."""
    return tuple(_PRESETS.values())


def register_preset(preset: Preset) -> None:
    """Make a preset of your own known to `create_plans` and the command line.

    Raises
    ------
    PlanningError
        The key, the planner or the plans name is already taken.
    """
    expect_type(preset, Preset, "preset", 'a preset, such as replace(find_preset("M"), key="S16")')
    for known in _PRESETS.values():
        taken = {known.key, known.planner, known.plans_name}
        if taken & {preset.key, preset.planner, preset.plans_name}:
            raise PlanningError(
                f"Preset {preset.key!r}: its key, planner or plans name is {known.key}'s already."
            )
    _PRESETS[preset.key] = preset


def find_preset(key: str) -> Preset:
    """The preset of a key, such as M, L or L-torch, or of a planner's class name.

    Raises
    ------
    PlanningError
        There is none; the message names the nearest.
    """
    expect_type(key, str, "preset", "the name of a preset, such as 'M'")
    by_name = {preset.key.lower(): preset for preset in presets()}
    by_name |= {preset.planner.lower(): preset for preset in presets()}
    if key.lower() in by_name:
        return by_name[key.lower()]
    nearest = dict.fromkeys(
        by_name[name].key for name in get_close_matches(key.lower(), by_name, n=3, cutoff=0.7)
    )
    names = [f"{near} ({by_name[near.lower()].planner})" for near in nearest]
    hint = f" Did you mean {' or '.join(names)}?" if names else ""
    known = ", ".join(preset.key for preset in presets())
    raise PlanningError(f"There is no preset {key!r}. Known presets: {known}.{hint}")
