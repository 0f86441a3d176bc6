"""PNG, BMP and TIFF: images that carry no geometry of their own."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.images.readers import NATURAL_2D
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.files import read_json, write_json
from resenc_plans.words import counted

SPACING_2D = (999, 1, 1)
"""nnU-Net's spacing of images without one: the missing axis must be the coarsest."""

_TIFF_ENDINGS = (".tif", ".tiff")
_CHANNEL_SUFFIX_LENGTH = len("_0000")
_COLOURS = (3, 4)


def read(path: Path, reader: str, *, is_label: bool) -> tuple[NDArray[Any], Sequence[float]]:
    """The voxels `(c, z, y, x)` and the spacing (z, y, x) of a file.

    NaturalImage2DIO takes grey, RGB and RGBA images, a channel per colour. Tiff3DIO takes stacks;
    their spacing is in a JSON file beside them (without the channel number), or else 1.

    Raises
    ------
    DatasetError
        The file is unreadable, or the reader does not take its kind.
    """
    pixels = _pixels(path)
    if reader == NATURAL_2D:
        return _channels(pixels, path), SPACING_2D
    if pixels.ndim != 3:
        raise DatasetError(
            f"{path}: has {counted(pixels.ndim, 'dimension')}, a 3D TIFF was expected."
        )
    return pixels[None], _stack_spacing(path, is_label=is_label)


def can_read(path: Path, reader: str) -> bool:
    """Whether nnU-Net's reader of this name takes the file, judging by its shape."""
    try:
        shape = _shape(path)
    except DatasetError:
        return False
    if reader == NATURAL_2D:
        return len(shape) == 2 or (
            len(shape) == 3 and (shape[-1] in _COLOURS or shape[0] in _COLOURS)
        )
    return len(shape) == 3


def write(labels: NDArray[Any], path: Path, spacing: Sequence[float]) -> None:
    """Write a segmentation `(z, y, x)`; a stack gets its spacing in a JSON file beside it.

    Raises
    ------
    DatasetError
        The file cannot be written.
    """
    is_plane = path.suffix.lower() not in _TIFF_ENDINGS or tuple(spacing) == SPACING_2D
    if is_plane and len(labels) != 1:
        raise DatasetError(f"{path}: not written: such a file holds one plane, not {len(labels)}.")
    try:
        if path.suffix.lower() not in _TIFF_ENDINGS:
            from PIL import Image

            Image.fromarray(labels[0]).save(path)
        elif tuple(spacing) == SPACING_2D:
            _tifffile(path).imwrite(path, labels[0], photometric="minisblack")
        else:
            _tifffile(path).imwrite(path, labels, photometric="minisblack", compression="zlib")
            write_json(path.with_suffix(".json"), {"spacing": list(spacing)})
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be written: {error}") from None


def _pixels(path: Path) -> NDArray[Any]:
    if path.suffix.lower() in _TIFF_ENDINGS:
        tifffile = _tifffile(path)
        try:
            pixels: NDArray[Any] = tifffile.imread(path)
        except Exception as error:
            raise DatasetError(f"{path}: unreadable: {error}") from None
        return pixels
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode == "P" and image.palette is not None:
                return np.asarray(image.convert(image.palette.mode))
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: unreadable: {error}") from None


def _shape(path: Path) -> tuple[int, ...]:
    if path.suffix.lower() in _TIFF_ENDINGS:
        tifffile = _tifffile(path)
        try:
            with tifffile.TiffFile(path) as tiff:
                return tuple(tiff.series[0].shape)
        except Exception as error:
            raise DatasetError(f"{path}: unreadable: {error}") from None
    return _pixels(path).shape


def _channels(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Colours first, as `(c, 1, y, x)`."""
    if pixels.ndim == 2:
        return pixels[None, None]
    if pixels.ndim == 3 and pixels.shape[-1] in _COLOURS:
        return np.moveaxis(pixels, -1, 0)[:, None]
    if pixels.ndim == 3 and pixels.shape[0] in _COLOURS:
        return pixels[:, None]
    raise DatasetError(
        f"{path}: has the shape {pixels.shape}. A 2D image is grey (y, x), RGB or RGBA (y, x, c)."
    )


def _stack_spacing(path: Path, *, is_label: bool) -> Sequence[float]:
    stem = path.stem if is_label else path.stem[:-_CHANNEL_SUFFIX_LENGTH]
    spacing_file = path.with_name(f"{stem}.json")
    if not spacing_file.is_file():
        return (1, 1, 1)
    try:
        document = read_json(spacing_file)
    except FileError as error:
        raise DatasetError(str(error)) from None
    spacing = document.get("spacing") if isinstance(document, dict) else None
    if (
        not isinstance(spacing, list)
        or len(spacing) != 3
        or not all(isinstance(size, int | float) and 0 < size < float("inf") for size in spacing)
    ):
        raise DatasetError(
            f"{spacing_file}: the key spacing must be three positive numbers, the voxel size along "
            "z, y, x."
        )
    return spacing


def _tifffile(path: Path) -> ModuleType:
    try:
        import tifffile
    except ImportError:
        raise DatasetError(
            f"{path}: TIFF files need tifffile. Install it with: pip install 'resenc-plans[tiff]'."
        ) from None
    module: ModuleType = tifffile
    return module
