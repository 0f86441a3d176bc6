"""A small made-up dataset: ellipsoids in noise, to try every command without own data."""

from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.errors import DatasetError, UsageError
from resenc_plans.files import make_folder, replace_folder, write_json, writing
from resenc_plans.folders import DATASET_JSON

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPACING = (3.0, 0.9, 0.9)
"""Millimetres per voxel along z, y, x: slices are thick, as they often are."""

DESCRIPTION = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "head": 1, "ventricle": 2, "lesion": 3},
    "file_ending": ".nii.gz",
    "name": "Phantom",
    "description": "Ellipsoids in noise, made by resenc-plans demo.",
}


def write_phantom(folder: str | Path, cases: int = 8, seed: int = 0) -> Path:
    """Write a dataset with `cases` cases of two channels and three labels; return its folder.

    Raises
    ------
    UsageError
        There is to be no case.
    DatasetError
        The folder exists and is not empty.
    FileError
        It cannot be written to.
    """
    import numpy as np

    if cases < 1:
        raise UsageError(f"`cases=` {cases}: at least one is needed.")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder}: is not empty. Choose a new folder for the phantom.")
    make_folder(folder.parent)
    random = np.random.default_rng(seed)
    with replace_folder(folder) as new:
        for name in ("imagesTr", "labelsTr"):
            make_folder(new / name)
        for number in range(cases):
            case = f"phantom_{number:03d}"
            images, label = _case(random)
            for channel, image in enumerate(images):
                _write(image, new / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
            _write(label, new / "labelsTr" / f"{case}.nii.gz")
        write_json(new / DATASET_JSON, DESCRIPTION | {"numTraining": cases})
    return folder


def _case(
    random: "np.random.Generator",
) -> "tuple[list[NDArray[np.float32]], NDArray[np.uint8]]":
    """Two channels (z, y, x) and a label map: a head, a ventricle and a lesion inside."""
    import numpy as np

    shape = (
        int(random.integers(20, 28)),
        int(random.integers(84, 100)),
        int(random.integers(76, 92)),
    )
    size = np.array(shape) * SPACING
    centre = size / 2
    label = np.zeros(shape, np.uint8)
    label[_ellipsoid(shape, centre, size * 0.42)] = 1
    label[_ellipsoid(shape, centre + random.uniform(-4, 4, 3), size * (0.15, 0.16, 0.1))] = 2
    offset = size * (0.1, 0.2, 0.18) * random.choice([-1, 1], 3)
    label[_ellipsoid(shape, centre + offset, random.uniform(5, 9, 3))] = 3
    intensities = np.array([[0, 420, 150, 330], [0, 260, 60, 700]], np.float32)
    images = []
    for values in intensities * random.uniform(0.85, 1.15, (2, 1)).astype(np.float32):
        image = values[label] + (label > 0) * random.normal(0, 25, shape).astype(np.float32)
        images.append(np.maximum(image, 0).astype(np.float32))
    return images, label


def _ellipsoid(
    shape: tuple[int, ...], centre: "NDArray[np.float64]", radii: "NDArray[np.float64]"
) -> "NDArray[np.bool_]":
    import numpy as np

    axes = np.ogrid[tuple(slice(n) for n in shape)]
    terms = [
        ((index * spacing - middle) / radius) ** 2
        for index, spacing, middle, radius in zip(axes, SPACING, centre, radii, strict=True)
    ]
    return np.asarray(sum(terms) <= 1)


def _write(array: "NDArray[np.generic]", path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    from resenc_plans.datasets.images.images import write_itk_image

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])  # type: ignore[no-untyped-call]
    with writing(path, path):
        write_itk_image(image, path)
