"""Read and write images as arrays `(c, z, y, x)`, with the results of nnU-Net's readers."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounds import MAX_SPACING, MIN_SPACING
from resenc_plans.datasets.images import geometry, itk, nifti, plain_images, readers
from resenc_plans.errors import DatasetError, FileError, UsageError, expect_type
from resenc_plans.files import check_regular
from resenc_plans.reprs import card, listed, numbers
from resenc_plans.words import counted

Array = NDArray[Any]

GIPL_HEADER_BYTES = 256
_MAX_LABEL = 65_535
"""Of the files that are written."""


@dataclass(frozen=True)
class Image:
    """An image in memory."""

    array: Array
    """Voxels `(c, z, y, x)`; z has length 1 in 2D images."""
    spacing: tuple[float, float, float]
    """Voxel size in mm along z, y, x."""
    properties: dict[str, Any]
    """What nnU-Net keeps of the file, for writing a segmentation on the same grid."""
    not_finite: frozenset[str] = frozenset()
    """The kinds "nan" and "infinite", if the file has such voxels; ITK replaces them by zeros."""

    def __repr__(self) -> str:
        return card(
            f"Image {self.array.shape} of {self.array.dtype}",
            {
                "spacing": f"{numbers(self.spacing)} mm (z, y, x)",
                "not finite": listed(sorted(self.not_finite)),
                "properties": listed(self.properties),
            },
        )


def read_image(paths: Sequence[str | os.PathLike[str]], reader: str | None = None) -> Image:
    """Read the files of one case, a channel (or several) each, as float32.

    `reader` is the name of an nnU-Net reader; by default the file ending decides.

    Raises
    ------
    DatasetError
        A file is unreadable, or shapes or spacings of the files differ.
    """
    expect_type(paths, Sequence, "paths", "the files of the channels, such as [path]")
    if isinstance(paths, str):
        raise UsageError(f"`paths=` is a str. Give the files of the channels, such as [{paths!r}].")
    images = [read_file(path, reader) for path in paths]
    if not images:
        raise DatasetError("An image needs at least one file.")
    check_same_grid(images, paths)
    channels = [image.array.astype(np.float32, copy=False) for image in images]
    array = channels[0] if len(channels) == 1 else np.concatenate(channels)
    return Image(array, images[0].spacing, images[0].properties)


def read_channels(
    paths: Sequence[Path],
    channels: int,
    reader: str | None = None,
    on_zeroed: Callable[[str], object] | None = None,
) -> Image:
    """Read the image of a case as float32 `(channels, z, y, x)`, one file after the other.

    Parameters
    ----------
    paths
        The files in the order of the channels; a file may hold several.
    channels
        The number of channels in all files together.
    reader
        The name of an nnU-Net reader; by default the file ending decides.
    on_zeroed
        Called with the path and the fault of a file in which nnU-Net's reader, ITK, replaces voxels
        that are not finite by zeros. Without it, such a file is an error, as for other readers.

    Returns
    -------
    The image with the properties of its first file.

    Raises
    ------
    DatasetError
        A file is unreadable or has voxels that are not finite, grids differ, or the number of
        channels differs.
    """
    if not paths:
        raise DatasetError("It has no image files.")
    first = _read_finite(paths[0], reader, on_zeroed)
    array = np.empty((channels, *first.array.shape[1:]), np.float32)
    filled = _fill(array, 0, first)
    grid = replace(first, array=_without_voxels(first))
    for path in paths[1:]:
        image = _read_finite(path, reader, on_zeroed)
        check_same_grid((grid, image), (paths[0], path))
        filled = _fill(array, filled, image)
    if filled != channels:
        raise DatasetError(
            f"It has {counted(filled, 'channel')} in {counted(len(paths), 'file')}, but the plans "
            f"are for {channels}. Are these the plans of another dataset?"
        )
    return replace(grid, array=array)


def read_label(path: str | os.PathLike[str], reader: str | None = None) -> Image:
    """Read a segmentation `(1, z, y, x)` in the file's own data type.

    Raises
    ------
    DatasetError
        The file is unreadable.
    """
    return read_file(path, reader, is_label=True)


def read_file(
    path: str | os.PathLike[str], reader: str | None = None, *, is_label: bool = False
) -> Image:
    """Read one file in its own data type.

    Raises
    ------
    DatasetError
        The file is unreadable.
    """
    expect_type(path, (str, os.PathLike), "path", "the path of a file")
    path = Path(path)
    try:
        check_regular(path)
    except FileError as error:
        raise DatasetError(str(error)) from None
    name = reader or _reader_of(path)
    if name in (readers.NATURAL_2D, readers.TIFF_3D):
        array, spacing = plain_images.read(path, name, is_label=is_label)
        size = (spacing[0], spacing[1], spacing[2])
        return Image(array, size, {"spacing": spacing}, frozenset(nifti.not_finite(array)))
    return _read_with_simpleitk(path, name)


def check_finite(image: Image, path: str | os.PathLike[str]) -> None:
    """Raise DatasetError if the file has voxels that are NaN or infinite."""
    if image.not_finite:
        raise DatasetError(f"{_not_finite(image, path)}. Replace them with a finite value.")


def check_same_grid(images: Sequence[Image], paths: Sequence[str | os.PathLike[str]]) -> None:
    """Raise DatasetError unless all files of a case have one shape and one spacing."""
    first = images[0]
    for image, path in zip(images[1:], paths[1:], strict=True):
        if image.array.shape != first.array.shape:
            raise DatasetError(
                f"{path}: has the shape {image.array.shape}, but {Path(paths[0]).name} has "
                f"{first.array.shape} (channels, z, y, x)."
            )
        if not np.allclose(image.spacing, first.spacing):
            raise DatasetError(
                f"{path}: has the spacing {image.spacing} mm, but {Path(paths[0]).name} has "
                f"{first.spacing} mm (z, y, x)."
            )


def write_label(array: Array, path: str | os.PathLike[str], properties: Mapping[str, Any]) -> None:
    """Write a segmentation `(z, y, x)` on the grid of the image that `properties` come from.

    The values become uint8, or uint16 from 255 on, as in nnU-Net.

    Raises
    ------
    UsageError
        The array has other axes, or values that are no labels.
    DatasetError
        The file cannot be written, its ending has no writer, or `properties` are not what a reader
        keeps, perhaps since they come from a damaged file.
    """
    path = Path(path)
    labels = _as_labels(array)
    if "sitk_stuff" not in properties and "nibabel_stuff" not in properties:
        try:
            spacing = [float(size) for size in properties["spacing"]]
        except (KeyError, TypeError, ValueError):
            raise DatasetError(
                f"{path}: not written: the properties of the image have no spacing."
            ) from None
        plain_images.write(labels, path, spacing)
        return
    place, orientation = geometry.geometry_from_properties(properties)
    try:
        image = _placed(labels, place, orientation)
    except (RuntimeError, TypeError) as error:  # what ITK and its wrapper raise
        raise DatasetError(
            f"{path}: not written: the properties of the image do not say where it lies "
            f"({_reason(error).rstrip('.')})."
        ) from None
    write_itk_image(image, path)


def _as_labels(array: Array) -> Array:
    if array.ndim != 3:
        raise UsageError(
            f"`array=` has the shape {array.shape}: a segmentation (z, y, x) is needed, such as "
            "`read_label(path).array[0]`."
        )
    low, high = array.min(initial=0), array.max(initial=0)
    is_label = 0 <= low <= high <= _MAX_LABEL
    if is_label and array.dtype.kind == "f":
        is_label = bool((array == np.rint(array)).all())
    if not is_label:
        raise UsageError(
            f"`array=` has values that are no labels: whole numbers from 0 to {_MAX_LABEL:,} are "
            "needed."
        )
    return array.astype(np.uint8 if high < 255 else np.uint16, copy=False)


def _placed(labels: Array, place: geometry.Geometry, orientation: str | None) -> itk.ItkImage:
    """A segmentation `(z, y, x)` at its place in space, its axes turned as in the original."""
    sitk = itk.simpleitk()
    image: itk.ItkImage = sitk.GetImageFromArray(labels[0] if len(place.spacing) == 2 else labels)
    place.apply_to(image)
    return image if orientation is None else sitk.DICOMOrient(image, orientation)


def write_itk_image(image: Any, path: Path) -> None:
    """Write an image of SimpleITK, whole.

    Raises
    ------
    DatasetError
        The file cannot be written, or was written in part, of which ITK says nothing.
    """
    try:
        itk.simpleitk().WriteImage(image, itk.itk_name(path), useCompression=True)
    except RuntimeError as error:
        raise DatasetError(f"{path}: cannot be written: {_reason(error)}") from None
    if not _is_whole(path, image):
        raise DatasetError(f"{path}: only written in part.")


def can_read(path: Path, reader: str) -> bool:
    """Whether nnU-Net's reader of this name can open a file, judging by the file's header.

    nibabel also opens NIfTI files with sheared axes, which ITK refuses.

    Raises
    ------
    DatasetError
        No reader can open it: its name is not valid UTF-8, or its position in space is not finite.
    """
    try:
        check_regular(path)
    except FileError:
        return False
    if reader in (readers.NATURAL_2D, readers.TIFF_3D):
        return plain_images.can_read(path, reader)
    try:
        dimension = _dimension(path)
    except RuntimeError as error:
        return reader == readers.NIBABEL and "orthonormal" in str(error)
    return dimension == 3 or (reader == readers.SIMPLEITK and dimension in (2, 4))


def _read_finite(
    path: Path, reader: str | None, on_zeroed: Callable[[str], object] | None
) -> Image:
    image = read_file(path, reader)
    if on_zeroed is not None and image.not_finite and _zeroes_as_nnunet(image, reader):
        on_zeroed(_not_finite(image, path))
    else:
        check_finite(image, path)
    return image


def _zeroes_as_nnunet(image: Image, reader: str | None) -> bool:
    """Whether nnU-Net's reader is ITK's, which reads zeros where voxels are not finite."""
    uses_itk = reader in (readers.SIMPLEITK, readers.SIMPLEITK_REORIENT)
    return uses_itk and bool(np.isfinite(image.array).all())


def _not_finite(image: Image, path: str | os.PathLike[str]) -> str:
    return f"{path}: has voxels that are {' or '.join(sorted(image.not_finite))}"


def _fill(array: Array, filled: int, image: Image) -> int:
    """Copy as many channels as there is room for; return the number of channels so far."""
    room = array[filled : filled + len(image.array)]
    room[...] = image.array[: len(room)]
    return filled + len(image.array)


def _without_voxels(image: Image) -> Array:
    """An array of the same shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), image.array.dtype), image.array.shape)


def _reader_of(path: Path) -> str:
    name = path.name.lower()
    for ending in sorted(readers.READERS_BY_ENDING, key=len, reverse=True):
        if name.endswith(ending):
            candidates = readers.READERS_BY_ENDING[ending]
            return next((r for r in candidates[:-1] if can_read(path, r)), candidates[-1])
    raise DatasetError(
        f"{path}: there is no reader for this file ending. "
        f"Known endings: {', '.join(readers.READERS_BY_ENDING)}."
    )


def _read_with_simpleitk(path: Path, reader: str) -> Image:
    try:
        image = _with_simpleitk(path, reader)
    except RuntimeError as error:  # what ITK raises
        raise DatasetError(f"{path}: unreadable: {_reason(error)}") from None
    if not all(MIN_SPACING <= size <= MAX_SPACING for size in image.spacing):
        raise DatasetError(
            f"{path}: has the spacing {image.spacing} mm (z, y, x), which no image has. Correct "
            "its header."
        )
    return image


def _with_simpleitk(path: Path, reader: str) -> Image:
    is_nifti = path.name.lower().endswith(nifti.NIFTI_ENDINGS)
    sitk = itk.simpleitk()
    lost: frozenset[str] = frozenset()
    if is_nifti:
        original, lost = _read_nifti(path)
    else:
        original = itk.read_whole(path)
    if original.GetNumberOfComponentsPerPixel() > 1:
        raise DatasetError(
            f"{path}: has {counted(original.GetNumberOfComponentsPerPixel(), 'value')} per voxel. "
            "Store one file per channel."
        )
    if reader not in (readers.SIMPLEITK, readers.SIMPLEITK_REORIENT) and (
        original.GetDimension() != 3
    ):
        raise DatasetError(
            f"{path}: has {counted(original.GetDimension(), 'dimension')}, {reader} takes 3D "
            "images only."
        )
    oriented = original
    if reader in (readers.SIMPLEITK_REORIENT, readers.NIBABEL_REORIENT):
        oriented = sitk.DICOMOrient(original, geometry.RAS)
    array: Array = sitk.GetArrayFromImage(oriented)
    if array.ndim > 4:
        raise DatasetError(f"{path}: has {counted(array.ndim, 'dimension')}, 2 to 4 are possible.")
    if array.ndim < 4:
        array = array[(None,) * (4 - array.ndim)]
    spacing = geometry.array_spacing(geometry.Geometry.of(oriented))
    properties = geometry.image_properties(reader, original, oriented)
    return Image(array, spacing, properties, lost.union(nifti.not_finite(array)))


def _read_nifti(path: Path) -> tuple[itk.ItkImage, frozenset[str]]:
    """The image as ITK reads it, and which kinds of voxels ITK replaces by zeros.

    The file is inflated once: ITK reads the header only, unless the voxels are to be scaled.
    """
    voxels, as_stored = nifti.read(path)
    lost = frozenset(nifti.not_finite(voxels))
    reader = _read_header(path, nifti.ITK_READER)
    is_as_large = prod(reader.GetSize()) == len(voxels)
    if not as_stored or not is_as_large or reader.GetNumberOfComponents() > 1:
        return itk.read_voxels(reader), lost
    array = voxels.reshape(reader.GetSize()[::-1])
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if lost:
        array = np.where(np.isfinite(array), array, 0)
    image = itk.simpleitk().GetImageFromArray(array, isVector=False)
    geometry.Geometry.of(reader).apply_to(image)
    return image, lost


def _is_whole(path: Path, image: Any) -> bool:
    """Whether a new file holds all of an image: ITK reports no error when the disk is full."""
    try:
        if path.name.lower().endswith(nifti.NIFTI_ENDINGS):
            nifti.scan(path)
            return True
        written = itk.read_whole(path)
    except (DatasetError, RuntimeError):
        return False
    # ITK reads truncated GIPL files without an error; their voxels are never compressed.
    voxels: int = itk.simpleitk().GetArrayViewFromImage(image).nbytes
    if written.GetNumberOfPixels() != image.GetNumberOfPixels():
        return False  # PNG and the like hold one plane
    return path.suffix.lower() != ".gipl" or path.stat().st_size == GIPL_HEADER_BYTES + voxels


def _dimension(path: Path) -> int:
    dimension: int = _read_header(path).GetDimension()
    return dimension


def _read_header(path: Path, image_io: str = "") -> itk.ItkReader:
    if path.name.lower().endswith(nifti.NIFTI_ENDINGS):
        nifti.check_position(path)
    return itk.read_header(path, image_io)


def _reason(error: Exception) -> str:
    """The message of an ITK error, without addresses and positions in ITK's source."""
    text = str(error).rpartition("ERROR:")[2].rpartition("[nrrd]")[2]
    text = re.sub(r"\w+ ?\(0x[0-9a-f]+\): ", "", text).partition("Reason:")[0]
    return " ".join(text.split())
