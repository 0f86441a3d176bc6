"""How a baseline's target spacing, patch and batch follow from a fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.plans.topology import padded
from resenc_plans.plans.unet import UNet
from resenc_plans.reprs import numbers

SpacingRule = Literal["through-plane", "median or 1 mm"]

SPACING_RULES: dict[SpacingRule, str] = {
    "through-plane": "median spacing, through-plane the 10th percentile or in-plane, the coarser",
    "median or 1 mm": "median spacing, or 1 mm where some axes are finer and some coarser",
}
"""Auto3DSeg's rules."""


@dataclass(frozen=True)
class Sizes:
    """What the network of one configuration is made for, axes in the plans' order.

    `unet` is the U-Net that the planner has for the patch: networks that follow nnU-Net's plans
    take its strides.
    """

    spacing: tuple[float, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    unet: UNet


@dataclass(frozen=True)
class SizesRecipe:
    """How the sizes of 3d_fullres are chosen; what is None is as a preset plans it.

    Attributes
    ----------
    preset
        The preset that plans the rest.
    spacing
        In mm (z, y, x of the images), or a rule.
    patch
        In voxels, in the plans' axis order.
    multiple
        Where the patch is planned: what it is rounded up to a multiple of. Where there is a
        `patch`: what its axes are cut to a multiple of where the median image is smaller.
    batch
        Samples.
    """

    preset: str = "default"
    spacing: tuple[float, float, float] | SpacingRule | None = None
    patch: tuple[int, int, int] | None = None
    multiple: int | None = None
    batch: int | None = None

    def __str__(self) -> str:
        preset = f"preset {self.preset}"
        if isinstance(self.spacing, str):
            spacing = SPACING_RULES[self.spacing]
        else:
            spacing = f"of {preset}" if self.spacing is None else f"{numbers(self.spacing)} mm"
        patch = f"of {preset}" if self.patch is None else numbers(self.patch)
        if self.multiple is not None:
            how = "rounded up" if self.patch is None else "where the median image is smaller cut"
            patch += f", {how} to multiples of {self.multiple}"
        batch = f"of {preset}" if self.batch is None else self.batch
        return f"spacing: {spacing}; patch: {patch}; batch: {batch}"

    @property
    def follows_patch(self) -> bool:
        """Whether the network is made for its patch, which is rounded to what the network takes.

        Any other network refuses a patch that it does not take.
        """
        return self.patch is None and self.multiple is None

    def target_spacing(self, fingerprint: Fingerprint) -> tuple[float, ...] | None:
        """The target spacing (mm; z, y, x of the images); None for the preset's."""
        if not isinstance(self.spacing, str):
            return self.spacing
        import numpy as np

        spacings = np.array(fingerprint.spacings, dtype=np.float64)
        median = np.percentile(spacings, 50, 0)
        if self.spacing == "median or 1 mm":
            is_mixed = median.min() < 1 < median.max()
            return (1.0, 1.0, 1.0) if is_mixed else tuple(median.tolist())
        through = int(np.argmax(median))
        in_plane = float(np.delete(median, through).max())
        median[through] = max(in_plane, float(np.percentile(spacings[:, through], 10)))
        return tuple(median.tolist())

    def patch_size(
        self, planned: Sequence[int], median_shape: Sequence[float]
    ) -> tuple[int, ...] | None:
        """The patch (voxels), where the preset planned `planned`; None for just that."""
        step = self.multiple
        if self.patch is None:
            return None if step is None else padded(planned, [step] * len(planned))
        if step is None:
            return self.patch
        return tuple(
            edge if edge <= size else max(step, int(size) // step * step)
            for edge, size in zip(self.patch, median_shape, strict=True)
        )
