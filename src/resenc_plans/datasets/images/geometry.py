"""The position of an image in space: nnU-Net's image properties and SimpleITK's geometry.

SimpleITK counts axes x, y, z and points to the patient's left, posterior, superior (LPS); NIfTI
affines point to right, anterior, superior (RAS).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.images import readers
from resenc_plans.datasets.images.itk import ItkImage, simpleitk
from resenc_plans.errors import DatasetError, first_line

RAS = "RAS"

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """Spacing (mm), origin and direction cosines (row by row) in SimpleITK's order x, y, z."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: ItkImage) -> Self:
        """The geometry of a SimpleITK image."""
        return cls(image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_affine(cls, affine: NDArray[np.floating[Any]]) -> Self:
        """The geometry of a 4x4 NIfTI affine without shear.

        >>> Geometry.from_affine(np.diag([-0.5, -0.5, 2.0, 1.0])).spacing
        (0.5, 0.5, 2.0)
        """
        lps = _LPS_TO_RAS @ np.asarray(affine, dtype=np.float64)
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        direction = lps[:3, :3] / spacing
        return cls(
            tuple(spacing.tolist()), tuple(lps[:3, 3].tolist()), tuple(direction.ravel().tolist())
        )

    def affine(self) -> NDArray[np.float64]:
        """The 4x4 NIfTI affine of a 3D image."""
        lps = np.eye(4)
        lps[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        lps[:3, 3] = self.origin
        return _LPS_TO_RAS @ lps

    def apply_to(self, image: ItkImage) -> None:
        """Set this geometry on an image."""
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)


def array_spacing(geometry: Geometry) -> tuple[float, float, float]:
    """Voxel size in the array's order (z, y, x), as nnU-Net counts it.

    A 2D image gets a first axis of 999 times its largest spacing; of a 4D image (channels first)
    the last three axes count.
    """
    sizes = tuple(abs(size) for size in reversed(geometry.spacing))
    if len(sizes) == 2:
        sizes = (abs(max(geometry.spacing) * 999), *sizes)
    z, y, x = sizes[-3:]
    return z, y, x


def image_properties(reader: str, original: ItkImage, oriented: ItkImage) -> dict[str, Any]:
    """What nnU-Net's reader of this name keeps of an image for writing segmentations.

    `oriented` is the image as it is used: turned to RAS by the reorienting readers, else `original`
    itself.
    """
    geometry = Geometry.of(oriented)
    spacing = list(array_spacing(geometry))
    if reader in (readers.NIBABEL, readers.NIBABEL_REORIENT):
        nibabel_stuff = {"original_affine": Geometry.of(original).affine()}
        if reader == readers.NIBABEL_REORIENT:
            nibabel_stuff["reoriented_affine"] = geometry.affine()
        return {"nibabel_stuff": nibabel_stuff, "spacing": spacing}
    sitk_stuff: dict[str, Any] = {
        "spacing": geometry.spacing,
        "origin": geometry.origin,
        "direction": geometry.direction,
    }
    if reader == readers.SIMPLEITK_REORIENT:
        sitk_stuff["original_orientation"] = orientation_code(Geometry.of(original))
    return {"sitk_stuff": sitk_stuff, "spacing": spacing}


def geometry_from_properties(properties: Mapping[str, Any]) -> tuple[Geometry, str | None]:
    """The geometry of the array, and the orientation code to turn it to for writing, if any.

    Raises
    ------
    DatasetError
        They are not what a reader keeps, perhaps since they come from a damaged file.
    """
    try:
        return _geometry_of(properties)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DatasetError(
            f"The properties of the image do not say where it lies ({first_line(error)})."
        ) from None


def _geometry_of(properties: Mapping[str, Any]) -> tuple[Geometry, str | None]:
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        geometry = Geometry(
            tuple(stuff["spacing"]), tuple(stuff["origin"]), tuple(stuff["direction"])
        )
        return geometry, stuff.get("original_orientation")
    stuff = properties["nibabel_stuff"]
    original = Geometry.from_affine(stuff["original_affine"])
    if "reoriented_affine" in stuff:
        return Geometry.from_affine(stuff["reoriented_affine"]), orientation_code(original)
    return original, None


def orientation_code(geometry: Geometry) -> str:
    """The letters of the anatomical directions that the axes point to, such as LPS."""
    code: str = simpleitk().DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
        geometry.direction
    )
    return code


def checked_spacing(spacing: object) -> tuple[float, ...]:
    """Voxel sizes as floats.

    Raises
    ------
    DatasetError
        They are not three positive lengths.
    """
    try:
        lengths = tuple(map(float, spacing))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        lengths = ()
    if len(lengths) != 3 or not all(0 < length < math.inf for length in lengths):
        raise DatasetError(f"Spacing {spacing}: three lengths are needed, mm along z, y, x.")
    return lengths
